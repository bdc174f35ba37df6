//! Heads read and written anew.

use catamaran_http1::{BodyFraming, HeadWriter, Limits, Parsed, RequestHead};

#[test]
fn a_head_is_sent_on_without_its_hop_by_hop_fields() {
    let buf = b"POST http://a.example:80?q=1 HTTP/1.1\r\nHost: A.example\r\nAccept: */*\r\nX-B:  y \r\nConnection: x-c, close\r\nX-C: 1\r\nContent-Length: 007\r\nX-D: d\r\n\r\n1234567";
    let mut head = RequestHead::new();
    assert_eq!(head.parse(buf, &Limits::default()), Ok(Parsed::Complete));
    assert_eq!(head.body, BodyFraming::Length(7));
    assert_eq!(&buf[head.head_len..], b"1234567");
    assert!(!head.keep_alive);
    let mut out = Vec::new();
    let mut writer = HeadWriter::request(&mut out, &head, buf, None, None);
    writer.request_fields(&head, buf, |_| true);
    writer.request_framing(head.body);
    writer.end();
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "POST /?q=1 HTTP/1.1\r\nHost: a.example:80\r\nAccept: */*\r\nX-B: y\r\nX-D: d\r\nContent-Length: 7\r\n\r\n"
    );
}
