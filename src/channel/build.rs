//! A channel from its configuration.

use std::sync::Arc;

use super::{Channel, Error, FileChannel, FileOptions, MemoryChannel};
use crate::config::{ChannelSettings, FileSettings};

/// Opens the channel that a configuration describes.
///
/// # Errors
///
/// Those of opening a file channel; the text names its directory.
pub fn build(settings: &ChannelSettings) -> Result<Arc<dyn Channel>, Error> {
    match settings {
        ChannelSettings::Memory(options) => Ok(Arc::new(MemoryChannel::new(options.clone()))),
        ChannelSettings::File(file) => {
            Ok(Arc::new(FileChannel::open(&file.path, file_options(file)?)?))
        }
    }
}

fn file_options(settings: &FileSettings) -> Result<FileOptions, Error> {
    let defaults = FileOptions::default();
    let sync = match &settings.sync {
        Some(text) => text.parse().map_err(super::file::error)?,
        None => defaults.sync,
    };
    Ok(FileOptions {
        bytes_max: settings.bytes_max,
        events_max: settings.events_max,
        put_timeout: settings.put_timeout.unwrap_or(defaults.put_timeout),
        sync,
        direct: settings.direct,
        cursors: settings.cursors.clone(),
        ..defaults
    })
}
