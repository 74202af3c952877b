//! Images that are made once.

use std::collections::HashMap;
use std::io;
use std::sync::Mutex;

use super::row::Encryption;
use super::{Place, Row};

/// New images under LUKS, and their data files: making one takes a program a second or two, whatever
/// time it is asked for. One for each name of a row, by one program.
#[derive(Debug, Default)]
pub struct Templates(Mutex<HashMap<&'static str, Files>>);

#[derive(Clone, Debug)]
struct Files {
    image: Vec<u8>,
    data: Option<Vec<u8>>,
}

impl Templates {
    /// Makes the image of a row by `make`, or as that did before.
    ///
    /// # Errors
    /// What `make` says, and I/O as text.
    pub fn make(
        &self,
        row: Row,
        place: &Place,
        make: &mut dyn FnMut() -> Result<(), String>,
    ) -> Result<(), String> {
        if !matches!(row.encryption, Some(Encryption::Luks(_))) {
            return make();
        }
        let text = |e: io::Error| format!("a copy of a new image: {e}");
        let known = self.0.lock().expect("nobody panics here").get(row.name).cloned();
        if let Some(files) = known {
            if let Some(data) = files.data {
                std::fs::write(place.data(), data).map_err(text)?;
            }
            return std::fs::write(place.image(), files.image).map_err(text);
        }
        make()?;
        let image = std::fs::read(place.image()).map_err(text)?;
        let data = row.data.map(|_| std::fs::read(place.data())).transpose().map_err(text)?;
        self.0.lock().expect("nobody panics here").insert(row.name, Files { image, data });
        Ok(())
    }
}
