//! Decodes JPEG XL with jxl-oxide, which turns pictures upright. It is written in Rust, but limits
//! neither its time nor the memory of a colour profile.

use std::io::Cursor;

use jxl_oxide::{EnumColourEncoding, JxlImage, JxlThreadPool, RenderingIntent};

use crate::{
    decoder_process::answer::{Failure, Pixels},
    types::alpha::Alpha,
};

pub(super) fn decode(bytes: &[u8]) -> Result<Pixels, Failure> {
    let refused =
        |error: Box<dyn std::error::Error + Send + Sync>| Failure::Refused(error.to_string());
    let builder = JxlImage::builder().pool(JxlThreadPool::none());
    let mut image = builder.read(Cursor::new(bytes)).map_err(refused)?;
    image.request_color_encoding(EnumColourEncoding::srgb(RenderingIntent::Relative));
    let alpha = image.pixel_format().has_alpha();
    let colours = if image.pixel_format().is_grayscale() {
        1
    } else {
        3
    };
    let extra = &image.image_header().metadata.ec_info;
    let premultiplied = extra
        .iter()
        .any(|channel| channel.alpha_associated() == Some(true));
    let blend = if premultiplied {
        Alpha::Premultiplied
    } else {
        Alpha::Straight
    };
    let render = image.render_frame(0).map_err(refused)?;
    let mut stream = render.stream();
    let (width, height, channels) = (stream.width(), stream.height(), stream.channels() as usize);
    if channels != colours + usize::from(alpha) {
        return Err("its colours are not red, green and blue".into());
    }
    let mut row = vec![0u8; width as usize * channels];
    let mut rgb = Vec::with_capacity(width as usize * height as usize * 3);
    for _ in 0..height {
        if stream.write_to_buffer(&mut row) != row.len() {
            return Err("it ends early".into());
        }
        for pixel in row.chunks_exact(channels) {
            let opacity = if alpha { pixel[channels - 1] } else { 255 };
            let shown = [0, 1, 2].map(|channel| pixel[channel.min(colours - 1)]);
            rgb.extend(shown.map(|channel| blend.over_white(channel, opacity)));
        }
    }
    Ok(Pixels { width, height, rgb })
}
