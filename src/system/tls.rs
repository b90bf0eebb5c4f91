//! The TLS library of HTTP clients: ring, which the NATS client uses too.

/// Installs ring as the provider of HTTP clients, which cannot be built without one. A second call
/// changes nothing.
pub fn install() {
    // This fails only if a provider is already installed.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
