//! Where bodies end.

use catamaran_http1::{
    BodyFraming, BodyReader, ChunkError, Decoder, FieldError, Limits, ResponseFraming, Truncated,
    encode_chunk_head, write_last_chunk,
};

/// Decodes all of `input`; returns the data, and how much was consumed if the body is whole.
fn decode(decoder: &mut Decoder, input: &[u8]) -> Result<(Vec<u8>, Option<usize>), ChunkError> {
    let mut data = Vec::new();
    let mut at = 0;
    loop {
        let step = decoder.decode(&input[at..])?;
        data.extend_from_slice(&input[at..][step.data.clone()]);
        at += step.consumed;
        if step.finished {
            return Ok((data, Some(at)));
        }
        if at == input.len() {
            return Ok((data, None));
        }
    }
}

fn refuse(input: &str) -> ChunkError {
    decode(&mut Decoder::default(), input.as_bytes()).expect_err("the body is malformed")
}

fn accept(input: &str) -> (Vec<u8>, Option<usize>) {
    decode(&mut Decoder::default(), input.as_bytes()).expect("the body is well formed")
}

#[test]
fn chunks_are_joined_and_the_next_message_is_left() {
    let (data, consumed) = accept("5\r\nhello\r\n00A\r\n, world!!!\r\n000\r\n\r\nGET /");
    assert_eq!(data, b"hello, world!!!");
    assert_eq!(consumed, Some(34));
    assert_eq!(accept("5\r\nhello\r\n"), (b"hello".to_vec(), None));
}

#[test]
fn chunk_sizes_are_hex_digits_and_nothing_else() {
    for input in [
        "\r\n",
        "x\r\n",
        "0x5\r\n",
        "+5\r\n",
        "-5\r\n",
        " 5\r\n",
        "5\n",
        "5\rx",
        "5 \r\n",
        "5\t\r\n",
        "G\r\n",
        "5_0\r\n",
        "5.0\r\n",
        ";a\r\n",
        "\u{ff15}\r\n",
        "5\0\r\n",
    ] {
        let error = refuse(input);
        let expected = [ChunkError::SizeInvalid, ChunkError::ExtensionInvalid];
        assert!(expected.contains(&error), "{input:?}: {error}");
    }
}

#[test]
fn chunk_sizes_do_not_overflow() {
    assert_eq!(refuse("8000000000000000\r\n"), ChunkError::SizeOverflow);
    assert_eq!(refuse("ffffffffffffffff\r\n"), ChunkError::SizeOverflow);
    assert_eq!(refuse("10000000000000005\r\n"), ChunkError::SizeOverflow);
    assert_eq!(refuse("00000000000000005\r\n"), ChunkError::SizeOverflow);
    assert_eq!(accept("0000000000000001\r\na").0, b"a");
    assert_eq!(accept("7fffffffffffffff\r\na").0, b"a");
}

#[test]
fn data_is_followed_by_crlf() {
    for input in [
        "1\r\nab",
        "1\r\na\n",
        "1\r\na\rb",
        "1\r\na0\r\n\r\n",
        "1\r\na\r\r\n",
    ] {
        assert_eq!(refuse(input), ChunkError::DataEndInvalid, "{input:?}");
    }
}

#[test]
fn extensions_are_checked_and_dropped() {
    for extension in [
        ";a",
        ";a=b",
        ";a=\"b\"",
        "; a",
        " ;a",
        ";a;b",
        "\t;\ta\t=\tb",
        ";a=b;c=\"d;\\\"e\"",
        " ;a=\"\"",
        ";a ;b",
        ";a=\"b\" ;c",
    ] {
        let (data, consumed) = accept(&format!("1{extension}\r\nx\r\n0{extension}\r\n\r\n"));
        assert_eq!(
            (data, consumed.is_some()),
            (b"x".to_vec(), true),
            "{extension:?}"
        );
    }
    for extension in [
        ";",
        ";=",
        ";a=",
        ";a b",
        ";a=b c",
        ";a=\"",
        ";a=\"b",
        ";a=\"\n\"",
        ";a=\"b\"c",
        ";a\n",
        ";a\0",
        ";;",
        ";a=\"\0\"",
        ";a=\"\\\n\"",
        "a;",
    ] {
        let error = refuse(&format!("1{extension}\r\nx\r\n0\r\n\r\n"));
        let expected = [
            ChunkError::SizeInvalid,
            ChunkError::ExtensionInvalid,
            ChunkError::DataEndInvalid,
        ];
        assert!(expected.contains(&error), "{extension:?}: {error}");
    }
}

#[test]
fn a_line_feed_in_an_extension_ends_no_line() {
    // Two readers that disagree here see different bodies (TERM.EXT and EXT.TERM).
    assert_eq!(
        refuse("2;\nxx\r\n4c\r\n0\r\n\r\n"),
        ChunkError::ExtensionInvalid
    );
    assert_eq!(
        refuse("2;a\nxx\r\n4c\r\n0\r\n\r\n"),
        ChunkError::ExtensionInvalid
    );
    assert_eq!(refuse("2;a\rxx\r\n"), ChunkError::SizeInvalid);
}

#[test]
fn extensions_may_not_outweigh_the_data() {
    let one = format!("1;a={}\r\n", "b".repeat(20_000));
    assert_eq!(refuse(&one), ChunkError::ExtensionsTooLarge);
    let many = format!("1;a={}\r\nx\r\n", "b".repeat(100)).repeat(1000);
    assert_eq!(refuse(&many), ChunkError::ExtensionsTooLarge);
    let paid = format!("64;a={}\r\n{}\r\n", "b".repeat(100), "x".repeat(100)).repeat(1000);
    assert_eq!(accept(&paid).0.len(), 100_000);
}

#[test]
fn trailers_are_sent_on_unless_they_belong_into_the_head() {
    let mut decoder = Decoder::default();
    let input = b"0\r\nX-Sum: 1\r\nContent-Length: 5\r\nHost: b\r\nTransfer-Encoding: chunked\r\n\
        Authorization: x\r\nSet-Cookie: y\r\ngrpc-status:  0 \r\nConnection: close\r\n\r\nnext";
    let (data, consumed) = decode(&mut decoder, input).unwrap();
    assert_eq!((data.len(), consumed), (0, Some(input.len() - 4)));
    let mut out = Vec::new();
    write_last_chunk(&mut out, Some(decoder.trailers()));
    assert_eq!(out, b"0\r\nX-Sum: 1\r\ngrpc-status: 0\r\n\r\n");
    out.clear();
    write_last_chunk(&mut out, None);
    assert_eq!(out, b"0\r\n\r\n");
    decoder.reset();
    assert_eq!(decode(&mut decoder, b"0\r\n\r\n").unwrap().1, Some(5));
    assert!(decoder.trailers().is_empty());
}

#[test]
fn trailers_are_as_strict_and_as_bounded_as_heads() {
    for (trailer, error) in [
        ("X : y\r\n\r\n", FieldError::SpaceBeforeColon),
        (" X: y\r\n\r\n", FieldError::Folded),
        ("X: y\n\r\n", FieldError::BareLf),
        ("GET / HTTP/1.1\r\n", FieldError::SpaceBeforeColon),
        ("\n", FieldError::BareLf),
        ("\rx", FieldError::BareCr),
    ] {
        let refused = refuse(&format!("0\r\n{trailer}"));
        assert_eq!(refused, ChunkError::Trailer(error), "{trailer:?}");
    }
    let long = refuse(&format!("0\r\nX: {}", "y".repeat(9000)));
    assert_eq!(long, ChunkError::Trailer(FieldError::TooLarge));
    let mut decoder = Decoder::new(Limits {
        max_head_bytes: 1000,
        max_fields: 2,
    });
    let many = decode(&mut decoder, b"0\r\na:\r\nb:\r\nc:\r\n").unwrap_err();
    assert_eq!(many, ChunkError::Trailer(FieldError::TooManyFields));
}

#[test]
fn chunk_heads_are_lower_case_hex() {
    let mut head = [0; 18];
    assert_eq!(encode_chunk_head(1, &mut head), b"1\r\n");
    assert_eq!(encode_chunk_head(0xabc, &mut head), b"abc\r\n");
    assert_eq!(
        encode_chunk_head(u64::MAX, &mut head),
        b"ffffffffffffffff\r\n"
    );
}

#[test]
fn a_body_with_a_length_ends_after_it() {
    let mut body = BodyReader::new();
    body.begin_request(BodyFraming::Length(5));
    let step = body.advance(b"abc").unwrap();
    assert_eq!((step.data, step.consumed, step.finished), (0..3, 3, false));
    assert_eq!(
        (body.remaining_length(), body.on_eof()),
        (2, Err(Truncated))
    );
    let step = body.advance(b"deGET").unwrap();
    assert_eq!((step.data, step.consumed, step.finished), (0..2, 2, true));
    assert_eq!(body.on_eof(), Ok(()));
    assert_eq!(body.advance(b"GET").unwrap().consumed, 0);
}

#[test]
fn bytes_that_were_spliced_count() {
    let mut body = BodyReader::new();
    body.begin(ResponseFraming::Length(1 << 40));
    body.skip((1 << 40) - 1);
    assert!(!body.is_finished());
    body.skip(1);
    assert!(body.is_finished());

    body.begin(ResponseFraming::Chunked);
    assert_eq!(body.advance(b"5\r\n").unwrap().data, 3..3);
    assert_eq!(body.remaining_length(), 5);
    body.skip(5);
    assert_eq!(body.remaining_length(), 0);
    assert!(body.advance(b"\r\n0\r\n\r\n").unwrap().finished);
}

#[test]
fn only_a_whole_body_survives_the_end_of_the_connection() {
    let mut body = BodyReader::new();
    for framing in [ResponseFraming::None, ResponseFraming::Length(0)] {
        body.begin(framing);
        assert_eq!((body.is_finished(), body.on_eof()), (true, Ok(())));
    }
    body.begin(ResponseFraming::UntilClose);
    assert_eq!(body.advance(b"abc").unwrap().data, 0..3);
    assert!(!body.is_finished());
    assert_eq!((body.on_eof(), body.is_finished()), (Ok(()), true));
    for cut in [
        "",
        "5",
        "5\r\n",
        "1\r\na",
        "1\r\na\r\n",
        "0\r\n",
        "0\r\nX: y\r\n",
        "0\r\n\r",
    ] {
        body.begin(ResponseFraming::Chunked);
        let mut at = 0;
        while at < cut.len() {
            at += body.advance(&cut.as_bytes()[at..]).unwrap().consumed;
        }
        assert_eq!(body.on_eof(), Err(Truncated), "{cut:?}");
    }
}
