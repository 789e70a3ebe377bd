//! What crosses between nodes and from clients, as plain values: formats, versions, limits.

pub mod codec;
pub mod frame;
pub mod message;
pub mod mpcium;
pub mod native;
pub mod request;
pub mod sheet;
pub mod transcript;
