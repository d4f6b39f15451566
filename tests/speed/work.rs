//! What a task may have to compute, in plain Rust. It is compiled twice: for this machine, and for the sandbox.

/// Calls itself about as often as its result is large.
pub fn fib(n: u32) -> u64 {
    if n < 2 { u64::from(n) } else { fib(n - 1) + fib(n - 2) }
}

/// An image of `side` times `side` pixels of four bytes.
pub fn image(side: usize) -> Vec<u8> {
    (0..side * side * 4).map(|n| (n * 31 % 251) as u8).collect()
}

/// The image at half its size: each pixel is the mean of four, weighted in linear light.
pub fn halve(image: &[u8], side: usize) -> Vec<u8> {
    let linear = |byte: u8| (f32::from(byte) / 255.0).powi(2);
    let half = side / 2;
    let mut halved = Vec::with_capacity(half * half * 4);
    for y in 0..half {
        for x in 0..half {
            for channel in 0..4 {
                let at =
                    |dx: usize, dy: usize| linear(image[((2 * y + dy) * side + 2 * x + dx) * 4 + channel]);
                let mean = (at(0, 0) + at(1, 0) + at(0, 1) + at(1, 1)) / 4.0;
                halved.push((mean.sqrt() * 255.0).round() as u8);
            }
        }
    }
    halved
}

/// The SHA-256 of `data` in hexadecimal (FIPS 180-4), without the instructions that some processors have for it: the sandbox
/// has none.
pub fn sha256(data: &[u8]) -> String {
    let mut state: [u32; 8] = std::array::from_fn(|i| fraction(f64::sqrt(PRIMES[i])));
    let constants: [u32; 64] = std::array::from_fn(|i| fraction(f64::cbrt(PRIMES[i])));
    let mut padded = data.to_vec();
    padded.push(0x80);
    padded.resize((padded.len() + 8).next_multiple_of(64), 0);
    let end = padded.len() - 8;
    padded[end..].copy_from_slice(&(data.len() as u64 * 8).to_be_bytes());
    for block in padded.chunks_exact(64) {
        compress(&mut state, &constants, block);
    }
    state.iter().map(|word| format!("{word:08x}")).collect()
}

fn compress(state: &mut [u32; 8], constants: &[u32; 64], block: &[u8]) {
    let mut words = [0_u32; 64];
    for (word, bytes) in words.iter_mut().zip(block.chunks_exact(4)) {
        *word = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    }
    for i in 16..64 {
        let (a, b) = (words[i - 15], words[i - 2]);
        let a = a.rotate_right(7) ^ a.rotate_right(18) ^ (a >> 3);
        let b = b.rotate_right(17) ^ b.rotate_right(19) ^ (b >> 10);
        words[i] = words[i - 16].wrapping_add(a).wrapping_add(words[i - 7]).wrapping_add(b);
    }
    let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = *state;
    for (constant, word) in constants.iter().zip(words) {
        let s1 = e.rotate_right(6) ^ e.rotate_right(11) ^ e.rotate_right(25);
        let choice = (e & f) ^ (!e & g);
        let t1 = h.wrapping_add(s1).wrapping_add(choice).wrapping_add(*constant).wrapping_add(word);
        let s0 = a.rotate_right(2) ^ a.rotate_right(13) ^ a.rotate_right(22);
        let t2 = s0.wrapping_add((a & b) ^ (a & c) ^ (b & c));
        (h, g, f, e, d, c, b, a) = (g, f, e, d.wrapping_add(t1), c, b, a, t1.wrapping_add(t2));
    }
    for (word, more) in state.iter_mut().zip([a, b, c, d, e, f, g, h]) {
        *word = word.wrapping_add(more);
    }
}

/// The first 32 bits behind the point.
fn fraction(number: f64) -> u32 {
    (number.fract() * 4_294_967_296.0) as u32
}

#[rustfmt::skip]
const PRIMES: [f64; 64] = [
    2., 3., 5., 7., 11., 13., 17., 19., 23., 29., 31., 37., 41., 43., 47., 53., 59., 61., 67., 71., 73., 79., 83., 89., 97.,
    101., 103., 107., 109., 113., 127., 131., 137., 139., 149., 151., 157., 163., 167., 173., 179., 181., 191., 193., 197.,
    199., 211., 223., 227., 229., 233., 239., 241., 251., 257., 263., 269., 271., 277., 281., 283., 293., 307., 311.,
];
