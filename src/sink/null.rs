//! `null`: acknowledges everything and keeps nothing.

use bytes::Bytes;

use super::{Kind, Sink, SinkState};
use crate::channel::{BoxFuture, Taken};
use crate::config::Section;
use crate::failure::Failure;

pub(super) const KIND: Kind = Kind { name: "null", keeps_state: false, configure };

#[derive(Debug)]
struct Null;

fn configure(_: &mut Section<'_>) -> Box<dyn Sink> {
    Box::new(Null)
}

impl Sink for Null {
    fn open(&mut self, _: Option<Bytes>) -> BoxFuture<'_, Result<SinkState, Failure>> {
        Box::pin(async { Ok(None) })
    }

    fn deliver(&mut self, _: Vec<Taken>) -> BoxFuture<'_, Result<SinkState, Failure>> {
        Box::pin(async { Ok(None) })
    }
}
