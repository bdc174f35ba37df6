//! Requests of remote write 1.0: protobuf in a block of snappy
//! (<https://prometheus.io/docs/specs/prw/remote_write_spec/>).

/// One series with its newest value.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Series {
    /// Names and values, sorted by name.
    pub(super) labels: Vec<(String, String)>,
    pub(super) value: f64,
    /// Milliseconds since 1970.
    pub(super) at: i64,
}

/// The bytes of a request.
pub(super) fn request(series: &[Series]) -> Vec<u8> {
    let mut plain = Vec::new();
    for one in series {
        message(&mut plain, 1, &time_series(one));
    }
    let mut encoder = snap::raw::Encoder::new();
    // It fails beyond 4 GB only, which no request has.
    encoder.compress_vec(&plain).unwrap_or_default()
}

fn time_series(series: &Series) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in &series.labels {
        let mut label = Vec::new();
        message(&mut label, 1, name.as_bytes());
        message(&mut label, 2, value.as_bytes());
        message(&mut out, 1, &label);
    }
    let mut sample = vec![1 << 3 | FIXED_64];
    sample.extend_from_slice(&series.value.to_le_bytes());
    sample.push(2 << 3 | VARINT);
    varint(&mut sample, u64::try_from(series.at).unwrap_or(0));
    message(&mut out, 2, &sample);
    out
}

fn message(out: &mut Vec<u8>, field: u8, content: &[u8]) {
    out.push(field << 3 | LENGTH);
    varint(out, content.len() as u64);
    out.extend_from_slice(content);
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    loop {
        let low = u8::try_from(value & 0x7f).unwrap_or(0);
        value >>= 7;
        if value == 0 {
            out.push(low);
            return;
        }
        out.push(low | 0x80);
    }
}

/// Types on the wire.
const VARINT: u8 = 0;
const FIXED_64: u8 = 1;
const LENGTH: u8 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_the_bytes_of_the_specification() {
        let series = Series {
            labels: vec![("__name__".to_owned(), "a".to_owned())],
            value: 1.0,
            at: 300,
        };
        let plain = snap::raw::Decoder::new()
            .decompress_vec(&request(&[series]))
            .unwrap();
        let mut expected = vec![0x0a, 29, 0x0a, 13, 0x0a, 8];
        expected.extend_from_slice(b"__name__");
        expected.extend_from_slice(&[0x12, 1, b'a', 0x12, 12, 0x09]);
        expected.extend_from_slice(&1.0_f64.to_le_bytes());
        // 300 in seven bits at a time.
        expected.extend_from_slice(&[0x10, 0xac, 0x02]);
        assert_eq!(plain, expected);
    }
}
