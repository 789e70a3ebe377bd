//! snow's primitives, made to forget.
//!
//! snow keeps keys in plain arrays and frees them as they are. Each primitive is handed out here in a wrapper that, when
//! dropped, overwrites the key in place through the primitive's own interface. What stays out of reach are the copies
//! that snow makes on the stack while it computes.

use snow::params::{CipherChoice, DHChoice, HashChoice};
use snow::resolvers::{CryptoResolver, DefaultResolver};
use snow::types::{Cipher, Dh, Hash, Random};
use subtle::ConstantTimeEq;

#[cfg(any(test, feature = "testing"))]
use crate::testing::witness::{self, Kind};

/// snow's default primitives in wrappers that wipe.
pub(super) struct WipingResolver;

impl CryptoResolver for WipingResolver {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        DefaultResolver.resolve_rng()
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        DefaultResolver.resolve_dh(choice).map(|dh| Box::new(WipedDh(dh)) as Box<dyn Dh>)
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        DefaultResolver.resolve_hash(choice).map(|hash| Box::new(WipedHash(hash)) as Box<dyn Hash>)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        DefaultResolver.resolve_cipher(choice).map(|cipher| Box::new(WipedCipher(cipher)) as Box<dyn Cipher>)
    }
}

/// A key pair whose private half is overwritten at the end.
struct WipedDh(Box<dyn Dh>);

impl Drop for WipedDh {
    fn drop(&mut self) {
        self.0.set(&[0; 32]);
    }
}

impl Dh for WipedDh {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn pub_len(&self) -> usize {
        self.0.pub_len()
    }

    fn priv_len(&self) -> usize {
        self.0.priv_len()
    }

    fn set(&mut self, private: &[u8]) {
        self.0.set(private);
    }

    fn generate(&mut self, rng: &mut dyn Random) -> Result<(), snow::Error> {
        self.0.generate(rng)?;
        #[cfg(any(test, feature = "testing"))]
        witness::saw(Kind::Handshake, self.0.privkey());
        Ok(())
    }

    fn pubkey(&self) -> &[u8] {
        self.0.pubkey()
    }

    fn privkey(&self) -> &[u8] {
        self.0.privkey()
    }

    /// Refuses a public key of small order, whose result is zero whatever the private key (RFC 7748, section 6.1).
    fn dh(&self, public: &[u8], out: &mut [u8]) -> Result<(), snow::Error> {
        self.0.dh(public, out)?;
        let result = out.get(..self.0.dh_len()).ok_or(snow::Error::Dh)?;
        #[cfg(any(test, feature = "testing"))]
        witness::saw(Kind::Handshake, result);
        if result.ct_eq(&[0; 32]).into() { Err(snow::Error::Dh) } else { Ok(()) }
    }

    fn dh_len(&self) -> usize {
        self.0.dh_len()
    }
}

/// A cipher whose key is overwritten at the end.
struct WipedCipher(Box<dyn Cipher>);

impl Drop for WipedCipher {
    fn drop(&mut self) {
        self.0.set(&[0; 32]);
    }
}

impl Cipher for WipedCipher {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn set(&mut self, key: &[u8; 32]) {
        #[cfg(any(test, feature = "testing"))]
        witness::saw(Kind::LinkKey, key);
        self.0.set(key);
    }

    fn encrypt(&self, nonce: u64, authtext: &[u8], plaintext: &[u8], out: &mut [u8]) -> usize {
        self.0.encrypt(nonce, authtext, plaintext, out)
    }

    fn decrypt(&self, nonce: u64, authtext: &[u8], sealed: &[u8], out: &mut [u8]) -> Result<usize, snow::Error> {
        self.0.decrypt(nonce, authtext, sealed, out)
    }
}

/// A hash whose state, from which the last derived key could be computed, is overwritten at the end.
struct WipedHash(Box<dyn Hash>);

impl Drop for WipedHash {
    fn drop(&mut self) {
        self.0.reset();
        self.0.input(&[0; 256]);
    }
}

impl Hash for WipedHash {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn block_len(&self) -> usize {
        self.0.block_len()
    }

    fn hash_len(&self) -> usize {
        self.0.hash_len()
    }

    fn reset(&mut self) {
        self.0.reset();
    }

    fn input(&mut self, data: &[u8]) {
        self.0.input(data);
    }

    fn result(&mut self, out: &mut [u8]) {
        self.0.result(out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_exchange__should_refuse_points_of_small_order() {
        let mut dh = WipingResolver.resolve_dh(&DHChoice::Curve25519).unwrap();
        dh.set(&[7; 32]);
        let mut base = [0; 32];
        base[0] = 9;
        let mut one = [0; 32];
        one[0] = 1;
        let mut out = [0; 56];
        assert!(dh.dh(&base, &mut out).is_ok());
        for weak in [[0; 32], one] {
            assert!(dh.dh(&weak, &mut out).is_err());
        }
    }
}
