//! The effects of changes, and the sizes of copies.

use image::{Rgb, RgbImage, imageops};
use rand::SeedableRng;

use super::{Change, EVALUATION_COPIES, apply_all, apply_random, paint::WHITE};

fn ramp(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        let channel = |at: u32, side: u32| u8::try_from(at * 250 / side).unwrap();
        Rgb([channel(x, width), channel(y, height), 60])
    })
}

fn difference(one: &RgbImage, other: &RgbImage) -> f64 {
    assert_eq!(one.dimensions(), other.dimensions());
    let pairs = one.as_raw().iter().zip(other.as_raw());
    let sum: u64 = pairs.map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
    sum as f64 / one.as_raw().len() as f64
}

#[test]
fn copies_have_their_sizes_and_only_the_first_equals_the_picture() {
    let picture = ramp(120, 80);
    for (name, changes) in EVALUATION_COPIES {
        let copy = apply_all(&picture, changes).unwrap();
        let size = match name {
            "half the size" | "half the size, JPEG quality 40" => (60, 40),
            "a tenth cut off" => (108, 72),
            "three tenths cut off" => (84, 56),
            "a quarter cut off at a corner" => (90, 60),
            "cut and darker" => (102, 68),
            "a border" => (132, 92),
            "a screenshot" => (130, 100),
            _ => (120, 80),
        };
        assert_eq!(copy.dimensions(), size, "{name}");
        if size == picture.dimensions() {
            let same = difference(&copy, &picture) == 0.0;
            assert_eq!(same, name == "the same file", "{name}");
        }
    }
}

#[test]
fn changes_do_what_they_say() {
    let picture = ramp(120, 80);
    let made = |change: Change| change.apply(&picture).unwrap();
    let twice = Change::Mirror.apply(&made(Change::Mirror)).unwrap();
    assert_eq!(twice, picture);
    assert_eq!(made(Change::Rotate(0.0)), picture);
    let back = Change::Rotate(-5.0)
        .apply(&made(Change::Rotate(5.0)))
        .unwrap();
    let middle = |picture: &RgbImage| imageops::crop_imm(picture, 40, 30, 40, 20).to_image();
    assert!(difference(&middle(&back), &middle(&picture)) < 1.0);
    // Counter-clockwise: a spot at the right moves up.
    let mut spot = RgbImage::new(101, 101);
    spot.put_pixel(90, 50, Rgb(WHITE));
    let turned = Change::Rotate(90.0).apply(&spot).unwrap();
    assert_eq!(turned.get_pixel(50, 10).0, WHITE);
    let grey = made(Change::Saturation(0.0));
    assert!(grey.pixels().all(|Rgb([r, g, b])| r == g && g == b));
    assert_eq!(made(Change::Channels([1.0; 3])), picture);
    assert_eq!(made(Change::Contrast(1.0)), picture);
    assert_eq!(
        made(Change::Channels([2.0, 0.0, 1.0])).get_pixel(119, 79).0,
        [255, 0, 60]
    );
}

#[test]
fn random_changes_repeat_with_their_seed_and_accept_any_size() {
    for (width, height) in [(1, 1), (1, 9), (7, 3), (64, 48)] {
        let picture = ramp(width, height);
        for seed in 0..200 {
            let made = |seed| {
                let mut rng = rand::rngs::StdRng::seed_from_u64(seed);
                apply_random(&picture, &mut rng).unwrap()
            };
            assert_eq!(made(seed), made(seed));
        }
        for (_, changes) in EVALUATION_COPIES {
            assert!(apply_all(&picture, changes).unwrap().width() > 0);
        }
    }
}
