//! What is left in the memory of the process when a store has been closed.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use super::header::Header;
use super::key::expand;
use super::*;
use crate::stack::wiped_after;

/// The second half of a secret of 32 bytes, kept under a mask so that it is not found here. The first half proves
/// nothing: who frees memory writes there.
struct Needle(Vec<u8>);

const MASK: u8 = 0xa5;

impl Needle {
    fn new(secret: &SecretBytes) -> Self {
        Self(secret.expose()[16..].iter().map(|byte| byte ^ MASK).collect())
    }

    fn is_at(&self, window: &[u8]) -> bool {
        window.iter().zip(&self.0).all(|(byte, masked)| byte ^ MASK == *masked)
    }

    /// How often it stands in the writable memory of this process, outside of the buffer it is looked for with.
    fn copies(&self) -> usize {
        let mut memory = File::open("/proc/self/mem").unwrap();
        let mut buffer = vec![0; 1 << 20];
        let own = buffer.as_ptr() as u64..buffer.as_ptr() as u64 + buffer.len() as u64;
        let mut copies = 0;
        for line in std::fs::read_to_string("/proc/self/maps").unwrap().lines() {
            let mut words = line.split(' ');
            let (range, rights) = (words.next().unwrap(), words.next().unwrap());
            if !rights.starts_with("rw") || line.ends_with("[vvar]") {
                continue;
            }
            let (start, end) = range.split_once('-').unwrap();
            let (mut at, end) = (u64::from_str_radix(start, 16).unwrap(), u64::from_str_radix(end, 16).unwrap());
            while at + (self.0.len() as u64) <= end {
                let len = buffer.len().min(usize::try_from(end - at).unwrap());
                // What another thread has just unmapped cannot be read, and holds nothing.
                if memory.seek(SeekFrom::Start(at)).and_then(|_| memory.read_exact(&mut buffer[..len])).is_err() {
                    break;
                }
                let found = buffer[..len]
                    .windows(self.0.len())
                    .enumerate()
                    .filter(|(offset, window)| self.is_at(window) && !own.contains(&(at + *offset as u64)));
                copies += found.count();
                at += (len - self.0.len() + 1) as u64;
            }
        }
        copies
    }
}

/// On the one thread of the test, which lives on: what is left on its stack counts too.
#[test]
fn keys_and_values__should_be_gone_from_memory_when_the_store_is_closed() {
    let folder = tempfile::tempdir().unwrap();
    let (value, store_key, family_key) = wiped_after(|| {
        let value = SecretBytes::random(32).unwrap();
        let needle = Needle::new(&value);
        let batch = Batch::new().put(Family::Shares, *b"key", value);
        open(folder.path()).write(&batch, Durability::Synced).unwrap();
        let header = raw_get(&raw(folder.path()), "default", "header");
        let store_key = Header::parse(&header).unwrap().unlock(&passphrase("right")).unwrap();
        let family_key = expand(&store_key, b"quorate store: family keys", b"shares").unwrap();
        (needle, Needle::new(&store_key), Needle::new(&family_key))
    });
    let store = open(folder.path());
    let read = store.get(Family::Shares, b"key").unwrap();
    assert!(value.copies() > 0, "the scan finds the value that was read");
    assert!(family_key.copies() > 0, "the scan finds the key that is in use");
    drop(read);
    drop(store);
    assert_eq!(value.copies(), 0, "the value");
    assert_eq!(store_key.copies(), 0, "the store key");
    assert_eq!(family_key.copies(), 0, "the key of a family");
}
