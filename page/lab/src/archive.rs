//! A ZIP archive of files as they are, without compression: a model directory to save.

/// The bytes of an archive with these files, each by its path. At most 4 GB.
pub fn archive(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut bytes =
        Vec::with_capacity(files.iter().map(|(name, file)| file.len() + 2 * name.len() + 76).sum::<usize>() + 22);
    let mut list = Vec::new();
    for (name, file) in files {
        let start = bytes.len() as u32;
        let header = header(name, file);
        bytes.extend(b"PK\x03\x04");
        bytes.extend(&header);
        bytes.extend(name.as_bytes());
        bytes.extend(file);
        list.extend(b"PK\x01\x02\x14\0");
        list.extend(&header);
        // No comment, the first disk, no attributes.
        list.extend([0; 10]);
        list.extend(start.to_le_bytes());
        list.extend(name.as_bytes());
    }
    let (start, size, count) = (bytes.len() as u32, list.len() as u32, files.len() as u16);
    bytes.extend(list);
    bytes.extend(b"PK\x05\x06\0\0\0\0");
    bytes.extend(count.to_le_bytes());
    bytes.extend(count.to_le_bytes());
    bytes.extend(size.to_le_bytes());
    bytes.extend(start.to_le_bytes());
    bytes.extend([0, 0]);
    bytes
}

/// What stands in both places of an archive for a file: the version, flags (names are UTF-8), no compression, the first
/// day of 1980, the checksum, twice the size, the length of the name.
fn header(name: &str, file: &[u8]) -> Vec<u8> {
    let mut bytes = vec![20, 0, 0, 8, 0, 0, 0, 0, 0x21, 0];
    let size = (file.len() as u32).to_le_bytes();
    bytes.extend(checksum(file).to_le_bytes());
    bytes.extend(size);
    bytes.extend(size);
    bytes.extend((name.len() as u16).to_le_bytes());
    bytes.extend([0, 0]);
    bytes
}

/// CRC-32, byte by byte.
fn checksum(bytes: &[u8]) -> u32 {
    let entry = |byte: u32| (0..8).fold(byte, |c, _| if c & 1 == 1 { 0xedb8_8320 ^ (c >> 1) } else { c >> 1 });
    let table: Vec<u32> = (0..256).map(entry).collect();
    !bytes.iter().fold(!0, |c, byte| table[((c ^ u32::from(*byte)) & 255) as usize] ^ (c >> 8))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_one_of_the_standard() {
        assert_eq!(checksum(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn places_of_an_archive_are_where_it_says() {
        let files = [("m/a.txt".to_owned(), b"hello".to_vec()), ("m/b".to_owned(), vec![7; 300])];
        let bytes = archive(&files);
        let u32_at = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
        let end = bytes.len() - 22;
        assert_eq!(&bytes[end..end + 4], b"PK\x05\x06");
        let mut at = u32_at(end + 16);
        for (name, file) in &files {
            assert_eq!(&bytes[at..at + 4], b"PK\x01\x02");
            assert_eq!(u32_at(at + 24), file.len());
            assert_eq!(&bytes[at + 46..at + 46 + name.len()], name.as_bytes());
            let local = u32_at(at + 42);
            assert_eq!(&bytes[local..local + 4], b"PK\x03\x04");
            assert_eq!(&bytes[local + 30..local + 30 + name.len()], name.as_bytes());
            assert_eq!(&bytes[local + 30 + name.len()..][..file.len()], file);
            at += 46 + name.len();
        }
        assert_eq!(at, end);
    }
}
