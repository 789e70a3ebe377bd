//! The affine x of an Ed25519 point, which curve libraries keep to themselves.
//!
//! All of this is about public keys, so nothing here needs to run in constant time.

use crypto_bigint::modular::ConstMontyForm;
use crypto_bigint::{U256, const_monty_params};

const_monty_params!(
    Prime,
    U256,
    "7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffed",
    "The prime 2^255 - 19 that Ed25519's coordinates are taken modulo."
);

/// A coordinate.
type Coordinate = ConstMontyForm<Prime, { U256::LIMBS }>;

/// d of the curve equation -x² + y² = 1 + d·x²·y²: -121665/121666.
const D: Coordinate =
    Coordinate::new(&U256::from_be_hex("52036cee2b6ffe738cc740797779e89800700a4d4141d8ab75eb4dca135978a3"));
/// A square root of -1: 2^((p - 1)/4).
const ROOT_OF_MINUS_ONE: Coordinate =
    Coordinate::new(&U256::from_be_hex("2b8324804fc1df0b2b4d00993dfbd7a72f431806ad2fe478c4ee1b274a0ea0b0"));
/// (p + 3)/8.
const ROOT_EXPONENT: U256 = U256::from_be_hex("0ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffe");

/// 0x02 or 0x03 by the parity of y, then x, 32 bytes big-endian, of a compressed point (RFC 8032, section 5.1.2: y
/// little-endian, the parity of x in the highest bit). `None` if there is no such point.
pub(super) fn ser33(compressed: [u8; 32]) -> Option<[u8; 33]> {
    let mut y = compressed;
    let x_is_odd = y[31] >> 7 == 1;
    y[31] &= 0x7f;
    let prefix = 2 + (y[0] & 1);
    let x = recover_x(&Coordinate::new(&U256::from_le_slice(&y)), x_is_odd)?;
    let mut bytes = [prefix; 33];
    bytes[1..].copy_from_slice(x.retrieve().to_be_bytes().as_ref());
    Some(bytes)
}

/// Solves the curve equation for x (RFC 8032, section 5.1.3): x² = (y² - 1)/(d·y² + 1).
fn recover_x(y: &Coordinate, odd: bool) -> Option<Coordinate> {
    let square = y.square();
    let inverse: Coordinate = Option::from((D * square + Coordinate::ONE).invert_vartime())?;
    let x_squared = (square - Coordinate::ONE) * inverse;
    // As p = 5 mod 8, this is a root of x² or of -x², if there is one.
    let candidate = x_squared.pow_vartime(&ROOT_EXPONENT);
    let x = [candidate, candidate * ROOT_OF_MINUS_ONE].into_iter().find(|x| x.square() == x_squared)?;
    let is_odd = |x: &Coordinate| bool::from(x.retrieve().is_odd());
    Some(if is_odd(&x) == odd { x } else { -x })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8032, section 5.1: the base point's x and y.
    const BASE_X: &str = "216936d3cd6e53fec0a4e231fdd6dc5c692cc7609525a7b2c9562d608f25d51a";
    const BASE_Y: &str = "6666666666666666666666666666666666666666666666666666666666666658";

    fn compress(y: &str, x_is_odd: bool) -> [u8; 32] {
        let mut bytes: [u8; 32] = hex::decode(y).unwrap().try_into().unwrap();
        bytes.reverse();
        bytes[31] |= u8::from(x_is_odd) << 7;
        bytes
    }

    #[test]
    fn ser33__should_be_the_base_point_as_published() {
        let encoded = ser33(compress(BASE_Y, false)).unwrap();
        assert_eq!(hex::encode(encoded), format!("02{BASE_X}"));
    }

    #[test]
    fn ser33__should_follow_the_sign_of_x() {
        let (even, odd) = (ser33(compress(BASE_Y, false)).unwrap(), ser33(compress(BASE_Y, true)).unwrap());
        let sum = Coordinate::new(&U256::from_be_slice(&even[1..])) + Coordinate::new(&U256::from_be_slice(&odd[1..]));
        assert_eq!((even[0], odd[0], sum), (2, 2, Coordinate::ZERO));
    }

    #[test]
    fn ser33__should_satisfy_the_curve_equation_for_random_points() {
        let mut parities = [0; 2];
        for seed in 0..32_u8 {
            let key = ed25519_dalek::SigningKey::from_bytes(&[seed; 32]).verifying_key().to_bytes();
            let encoded = ser33(key).unwrap();
            let mut y = key;
            y[31] &= 0x7f;
            assert_eq!(encoded[32] & 1, key[31] >> 7, "parity of x");
            parities[usize::from(encoded[0] - 2)] += 1;
            assert_eq!(encoded[0] - 2, y[0] & 1, "parity of y");
            let (x, y) =
                (Coordinate::new(&U256::from_be_slice(&encoded[1..])), Coordinate::new(&U256::from_le_slice(&y)));
            let (xx, yy) = (x.square(), y.square());
            assert_eq!(yy - xx, Coordinate::ONE + D * xx * yy);
        }
        assert!(parities.iter().all(|&count| count > 0));
    }

    #[test]
    fn ser33__should_know_what_is_no_point() {
        // Half of all y have no x. Another decoder must agree on which.
        let (mut points, mut gaps) = (0, 0);
        for y in 2..32 {
            let mut compressed = [0; 32];
            compressed[0] = y;
            let known = ed25519_dalek::VerifyingKey::from_bytes(&compressed).is_ok();
            assert_eq!(ser33(compressed).is_some(), known, "{y}");
            *(if known { &mut points } else { &mut gaps }) += 1;
        }
        assert!(points > 0 && gaps > 0);
    }
}
