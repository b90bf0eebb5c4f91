//! The TLS library of HTTP clients: ring, which the NATS client uses too.

/// Installs ring as the provider of HTTP clients, which cannot be built without one. A second call
/// changes nothing.
pub fn install() {
    // Fails only if a provider is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
