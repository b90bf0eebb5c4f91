//! Small real data sets for the tests of the formats.

use std::{fs, io::Cursor, path::Path};

use ::image::{ImageFormat, Rgb, RgbImage};

use crate::train::data::{collection::Collection, open::open};

/// Returns the bytes of a PNG file of one colour.
pub fn png(width: u32, height: u32, colour: [u8; 3]) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    let picture = RgbImage::from_pixel(width, height, Rgb(colour));
    picture.write_to(&mut bytes, ImageFormat::Png).unwrap();
    bytes.into_inner()
}

/// Writes a file, and creates its folders.
pub fn write(folder: &Path, name: &str, bytes: impl AsRef<[u8]>) {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// Returns the error of opening a data set.
pub fn refused(path: &Path) -> String {
    let words = open(path).unwrap_err().to_string();
    assert!(words.contains("is not a data set: "), "{words}");
    words
}

/// Returns the names of the items, each with the names of its classes.
pub fn listed(collection: &Collection) -> Vec<(&str, Vec<&str>)> {
    let classes = |set: usize| collection.sets[set].iter();
    let items = collection.items.iter().map(|item| {
        let classes = classes(item.set).map(|&class| collection.classes[class].as_str());
        (item.name.as_str(), classes.collect())
    });
    items.collect()
}

/// Makes a folder with two classes of four pictures, one corrupt file and hidden files.
pub fn tree(folder: &Path) {
    for i in 0..4u8 {
        write(folder, &format!("dog/{i}.png"), png(8, 6, [200, 10 * i, 0]));
        write(folder, &format!("cat/{i}.png"), png(4, 4, [10 * i, 0, 200]));
    }
    write(folder, "cat/broken.jpg", "no picture");
    write(folder, "cat/.hidden", "");
    write(folder, ".git/0.png", png(4, 4, [0; 3]));
    write(folder, "README", "");
}
