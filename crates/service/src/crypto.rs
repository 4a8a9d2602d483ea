//! One TLS provider for the whole process.

/// Makes ring the process's TLS provider; the first line of every `main`.
///
/// rustls picks a provider by itself only while a single one is compiled in, and a dependency can
/// bring a second one through feature unification: then its builders panic.
pub fn install() {
    // An error means that one is installed already, which is what we want.
    drop(rustls::crypto::ring::default_provider().install_default());
}
