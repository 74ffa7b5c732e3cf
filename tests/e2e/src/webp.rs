//! Joins WebP stills from the browser to one animated WebP.
//!
//! The browser has encoded each frame, so only the container is written here
//! (<https://developers.google.com/speed/webp/docs/riff_container>) and no codec needs to be compiled.

use anyhow::{Context, Result, bail};

/// A frame of a moving picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// A still, as a whole WebP file.
    pub still: Vec<u8>,
    /// How long it is shown, in milliseconds.
    pub milliseconds: u32,
}

/// Flags of the `VP8X` chunk.
const ANIMATED: u8 = 0x02;
const WITH_ALPHA: u8 = 0x10;

/// Flag of a frame that replaces everything below it, also where it is transparent.
const NO_BLENDING: u8 = 0x02;

/// An animated WebP that repeats for ever. Equal consecutive frames become one.
///
/// # Errors
/// There is no frame, a frame is not a WebP still, or not all have the same size.
pub fn animation(frames: &[Frame]) -> Result<Vec<u8>> {
    let mut merged: Vec<Frame> = Vec::new();
    for frame in frames {
        match merged.last_mut() {
            Some(last) if last.still == frame.still => last.milliseconds += frame.milliseconds,
            _ => merged.push(frame.clone()),
        }
    }
    let stills = merged.iter().map(|frame| Still::read(&frame.still)).collect::<Result<Vec<_>>>()?;
    let first = stills.first().context("a moving picture needs at least one frame")?;
    let (width, height) = (first.width, first.height);
    let mut body = b"WEBP".to_vec();
    let alpha = if stills.iter().any(|still| still.has_alpha) { WITH_ALPHA } else { 0 };
    let size = [less_one(width)?, less_one(height)?].concat();
    chunk(&mut body, *b"VP8X", &[&[ANIMATED | alpha, 0, 0, 0], &size[..]].concat());
    // No background colour, and infinite repetition.
    chunk(&mut body, *b"ANIM", &[0; 6]);
    for (frame, still) in merged.iter().zip(&stills) {
        if (still.width, still.height) != (width, height) {
            bail!("a frame is {} x {}, and the first is {width} x {height}", still.width, still.height);
        }
        let time = &frame.milliseconds.min(0xff_ffff).to_le_bytes()[..3];
        let head = [&[0; 6], &size[..], time, &[NO_BLENDING]].concat();
        chunk(&mut body, *b"ANMF", &[head, still.data.clone()].concat());
    }
    let mut file = Vec::new();
    chunk(&mut file, *b"RIFF", &body);
    Ok(file)
}

/// The parts of a still's file.
struct Still {
    width: u32,
    height: u32,
    has_alpha: bool,
    /// The chunks of its image: `ALPH`, `VP8 ` or `VP8L`.
    data: Vec<u8>,
}

impl Still {
    fn read(file: &[u8]) -> Result<Self> {
        if file.len() < 12 || &file[..4] != b"RIFF" || &file[8..12] != b"WEBP" {
            bail!("a frame is not a WebP file");
        }
        let mut still = Self { width: 0, height: 0, has_alpha: false, data: Vec::new() };
        let mut rest = &file[12..];
        while let Some((head, after)) = rest.split_first_chunk::<8>() {
            let length = u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
            let data = after.get(..length).context("a frame ends in the middle of a chunk")?;
            match &head[..4] {
                b"VP8 " => (still.width, still.height) = lossy_size(data)?,
                b"VP8L" => {
                    let bits = data.get(1..5).context("a frame has no size")?;
                    let bits = u32::from_le_bytes([bits[0], bits[1], bits[2], bits[3]]);
                    (still.width, still.height) = ((bits & 0x3fff) + 1, (bits >> 14 & 0x3fff) + 1);
                    still.has_alpha |= bits >> 28 & 1 == 1;
                }
                b"ALPH" => still.has_alpha = true,
                b"ANIM" | b"ANMF" => bail!("a frame is a moving picture itself"),
                _ => {}
            }
            if matches!(&head[..4], b"ALPH" | b"VP8 " | b"VP8L") {
                chunk(&mut still.data, [head[0], head[1], head[2], head[3]], data);
            }
            rest = after.get(length.next_multiple_of(2)..).unwrap_or_default();
        }
        if still.data.is_empty() {
            bail!("a frame holds no image");
        }
        Ok(still)
    }
}

/// Width and height of a lossy image: after the frame tag and the start code.
fn lossy_size(data: &[u8]) -> Result<(u32, u32)> {
    let head = data.get(3..10).context("a frame has no size")?;
    if head[..3] != [0x9d, 0x01, 0x2a] {
        bail!("a frame's image does not begin with a key frame");
    }
    let number = |at: usize| u32::from(u16::from_le_bytes([head[at], head[at + 1]]) & 0x3fff);
    Ok((number(3), number(5)))
}

/// A size in the container's form: minus one, in three bytes.
fn less_one(size: u32) -> Result<[u8; 3]> {
    let [a, b, c, rest] = size.checked_sub(1).context("a frame has no width or no height")?.to_le_bytes();
    if rest > 0 {
        bail!("a frame of {size} pixels is too large");
    }
    Ok([a, b, c])
}

/// Appends a chunk: its name, its length, and `data` padded to an even length.
fn chunk(to: &mut Vec<u8>, name: [u8; 4], data: &[u8]) {
    to.extend(name);
    to.extend((data.len() as u32).to_le_bytes());
    to.extend(data);
    if data.len() % 2 == 1 {
        to.push(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A still of which only the header is valid; `mark` makes images different.
    fn still(width: u16, height: u16, mark: u8) -> Vec<u8> {
        let [w, h] = [width.to_le_bytes(), height.to_le_bytes()];
        let image = [&[0, 0, 0, 0x9d, 0x01, 0x2a], &w[..], &h, &[mark]].concat();
        let mut body = b"WEBP".to_vec();
        chunk(&mut body, *b"VP8 ", &image);
        let mut file = Vec::new();
        chunk(&mut file, *b"RIFF", &body);
        file
    }

    fn frame(mark: u8, milliseconds: u32) -> Frame {
        Frame { still: still(300, 20, mark), milliseconds }
    }

    /// Names and contents of the chunks after the file's header.
    fn chunks(file: &[u8]) -> Vec<(String, Vec<u8>)> {
        let mut rest = &file[12..];
        let mut chunks = Vec::new();
        while !rest.is_empty() {
            let length = u32::from_le_bytes(rest[4..8].try_into().unwrap()) as usize;
            chunks.push((String::from_utf8(rest[..4].to_vec()).unwrap(), rest[8..8 + length].to_vec()));
            rest = &rest[8 + length.next_multiple_of(2)..];
        }
        chunks
    }

    #[test]
    fn frames_keep_their_order_size_and_time_and_equal_ones_become_one() {
        let file = animation(&[frame(1, 100), frame(1, 50), frame(2, 300)]).unwrap();
        assert_eq!(u32::from_le_bytes(file[4..8].try_into().unwrap()) as usize, file.len() - 8);
        let chunks = chunks(&file);
        let names: Vec<&str> = chunks.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["VP8X", "ANIM", "ANMF", "ANMF"]);
        assert_eq!(chunks[0].1, [0x02, 0, 0, 0, 43, 1, 0, 19, 0, 0], "300 - 1 and 20 - 1");
        for ((_, data), (time, mark)) in chunks[2..].iter().zip([(150u32, 1), (300, 2)]) {
            assert_eq!(data[6..12], [43, 1, 0, 19, 0, 0]);
            assert_eq!(data[12..15], time.to_le_bytes()[..3]);
            assert_eq!(&data[16..20], b"VP8 ");
            assert_eq!(data[24 + 10], mark);
        }
    }

    #[test]
    fn what_is_no_still_or_of_another_size_is_refused() {
        let other = Frame { still: still(300, 21, 1), milliseconds: 1 };
        for (frames, why) in [
            (vec![], "at least one frame"),
            (vec![frame(1, 1), other], "300 x 21"),
            (vec![Frame { still: b"GIF89a".to_vec(), milliseconds: 1 }], "not a WebP"),
            (vec![Frame { still: animation(&[frame(1, 1)]).unwrap(), milliseconds: 1 }], "moving picture itself"),
        ] {
            let error = animation(&frames).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
        let mut cut = still(300, 20, 1);
        cut.truncate(24);
        assert!(animation(&[Frame { still: cut, milliseconds: 1 }]).is_err());
    }
}
