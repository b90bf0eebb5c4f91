//! What encrypts the connections that a client makes: ring, as for NATS, so that one such library is enough.

/// Makes ring what every client of HTTP made from now on encrypts with; without one a client cannot be made. A second call changes nothing.
pub fn install() {
    // It fails only if there is one already.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
