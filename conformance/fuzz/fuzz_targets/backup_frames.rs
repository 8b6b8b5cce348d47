#![no_main]

use certgate::service::backup::{Frame, FrameReader};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok((mut frames, _head)) = FrameReader::start(bytes) else { return };
    while let Ok(frame) = frames.next() {
        if frame == Frame::End {
            break;
        }
    }
});
