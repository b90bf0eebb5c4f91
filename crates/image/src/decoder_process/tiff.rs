//! Decodes TIFF with libtiff: with its own conversion to 8 bits, or sample by sample (`samples`) if
//! it has no conversion or a wrong one.

use std::ffi::{CStr, c_char, c_int};

use crate::{
    decoder_process::{
        answer::{Failure, Pixels},
        libtiff::{self, Memory, Open},
        samples,
    },
    headers::tiff::Directory,
};

pub(super) fn decode(bytes: &[u8]) -> Result<Pixels, Failure> {
    let library = libtiff::load()?;
    let directory = Directory::read(bytes).map_err(|error| Failure::Refused(error.to_string()))?;
    let (width, height) = (directory.width, directory.height);
    let mut memory = Memory::new(bytes);
    let open = Open::new(library, &mut memory);
    let open = open.ok_or("libtiff cannot open it")?;
    let mut message = [0 as c_char; 1024];
    // SAFETY: the calls follow libtiff's header. The raster has room for the size in its directory,
    // which is the size that libtiff is asked for.
    unsafe {
        let converts = (library.TIFFRGBAImageOK)(open.file, message.as_mut_ptr()) != 0;
        if !converts || directory.needs_conversion() {
            return samples::decode(&open, &directory).ok_or_else(|| {
                let message = CStr::from_ptr(message.as_ptr()).to_string_lossy();
                Failure::Refused(format!("libtiff cannot convert it: {message}"))
            });
        }
        let mut raster = vec![0u32; width as usize * height as usize];
        // Rows come as they are stored. The service turns the picture upright.
        let orientation = c_int::from(directory.orientation());
        if (library.TIFFReadRGBAImageOriented)(
            open.file,
            width,
            height,
            raster.as_mut_ptr(),
            orientation,
            1,
        ) == 0
        {
            return Err("libtiff cannot decode it".into());
        }
        let mut rgb = Vec::with_capacity(raster.len() * 3);
        for pixel in raster {
            // libtiff returns colours multiplied by alpha.
            let [red, green, blue, opacity] = pixel.to_le_bytes();
            rgb.extend([red, green, blue].map(|channel| channel.saturating_add(255 - opacity)));
        }
        Ok(Pixels { width, height, rgb })
    }
}
