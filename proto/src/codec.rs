//! Protobuf as tonic-prost writes and reads it, with buffers that grow from a little.
//!
//! tonic makes two buffers of 8 KiB for each call, and a coordinator holds two open calls for each machine:
//! with a thousand machines that was a fifth of its memory.

use std::marker::PhantomData;

use prost::Message;
use tonic::codec::{BufferSettings, Codec};
use tonic_prost::{ProstCodec, ProstDecoder, ProstEncoder};

/// A heartbeat, an acknowledgement.
const BUFFER_BYTES: usize = 512;
/// Messages that wait are written together up to so much; tonic's own.
const WRITTEN_TOGETHER_BYTES: usize = 32 * 1024;

pub struct SmallBuffers<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for SmallBuffers<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> Codec for SmallBuffers<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = ProstDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstCodec::<T, U>::raw_encoder(settings())
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstCodec::<T, U>::raw_decoder(settings())
    }
}

fn settings() -> BufferSettings {
    BufferSettings::new(BUFFER_BYTES, WRITTEN_TOGETHER_BYTES)
}
