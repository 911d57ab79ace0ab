//! The body of an answer: a file of the store, read while it is sent, or a short text.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tower_http::services::fs::ServeFileSystemResponseBody;

/// The body of an answer.
pub(super) enum ResponseBody {
    /// A file, or a part of one.
    File(ServeFileSystemResponseBody),
    /// A text; removed when it was sent.
    Text(Option<Bytes>),
}

impl ResponseBody {
    pub(super) fn text(text: impl Into<Bytes>) -> ResponseBody {
        ResponseBody::Text(Some(text.into()).filter(|text: &Bytes| !text.is_empty()))
    }
}

impl HttpBody for ResponseBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match self.get_mut() {
            ResponseBody::File(file) => Pin::new(file).poll_frame(context),
            ResponseBody::Text(text) => Poll::Ready(text.take().map(|text| Ok(Frame::data(text)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            ResponseBody::File(file) => file.is_end_stream(),
            ResponseBody::Text(text) => text.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            ResponseBody::File(file) => file.size_hint(),
            ResponseBody::Text(text) => SizeHint::with_exact(text.as_ref().map_or(0, |text| text.len() as u64)),
        }
    }
}
