//! Why a head is refused.

/// What is wrong with a field line or with the head as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FieldError {
    /// A CR that no LF follows.
    #[error("bare CR in the head")]
    BareCr,
    /// An LF that no CR precedes.
    #[error("bare LF in the head")]
    BareLf,
    /// A `Connection` field that is no list of tokens.
    #[error("invalid connection option")]
    ConnectionInvalid,
    /// `Connection` names a field that the message cannot do without.
    #[error("connection option names a field meant for every recipient")]
    ConnectionNamesEssential,
    /// A line that begins with whitespace: obs-fold, or whitespace before the first field.
    #[error("field line begins with whitespace")]
    Folded,
    /// Nothing before the colon.
    #[error("empty field name")]
    NameEmpty,
    /// The name is no token, or no colon follows it.
    #[error("invalid field name")]
    NameInvalid,
    /// Whitespace between name and colon.
    #[error("whitespace before the colon of a field")]
    SpaceBeforeColon,
    /// More bytes than [`crate::Limits::max_head_bytes`].
    #[error("head too large")]
    TooLarge,
    /// More connection options than are looked at.
    #[error("too many connection options")]
    TooManyConnectionOptions,
    /// More fields than [`crate::Limits::max_fields`].
    #[error("too many fields")]
    TooManyFields,
    /// A control character in a value.
    #[error("control character in a field value")]
    ValueInvalid,
}

/// Why it cannot be told where a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FramingError {
    /// `Transfer-Encoding` in an HTTP/1.0 message.
    #[error("transfer-encoding in HTTP/1.0")]
    CodingInHttp10,
    /// A `Transfer-Encoding` that is neither `chunked` nor a list of known codings.
    #[error("invalid transfer-encoding")]
    CodingInvalid,
    /// More than one `Transfer-Encoding` field.
    #[error("several transfer-encoding fields")]
    CodingRepeated,
    /// A registered coding that is not spoken.
    #[error("unsupported transfer-encoding")]
    CodingUnsupported,
    /// `Content-Length` and `Transfer-Encoding` together.
    #[error("both content-length and transfer-encoding")]
    LengthAndCoding,
    /// A `Content-Length` that is not digits only.
    #[error("invalid content-length")]
    LengthInvalid,
    /// A `Content-Length` above 2^63 - 1.
    #[error("content-length too large")]
    LengthOverflow,
    /// More than one `Content-Length` field.
    #[error("several content-length fields")]
    LengthRepeated,
}

/// Why a request head is refused. The connection cannot be used after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// An `Expect` other than `100-continue`.
    #[error("unknown expectation")]
    ExpectUnknown,
    /// A field line is wrong.
    #[error(transparent)]
    Field(#[from] FieldError),
    /// The body's end cannot be told.
    #[error(transparent)]
    Framing(#[from] FramingError),
    /// `Host` is not the authority of the request target.
    #[error("host differs from the authority of the request target")]
    HostDiffers,
    /// `Host` is no host with an optional port.
    #[error("invalid host")]
    HostInvalid,
    /// An HTTP/1.1 request without `Host`.
    #[error("host missing")]
    HostMissing,
    /// More than one `Host` field.
    #[error("several host fields")]
    HostRepeated,
    /// The request line is not `method SP target SP version`.
    #[error("invalid request line")]
    LineInvalid,
    /// The method is no token.
    #[error("invalid method")]
    MethodInvalid,
    /// The target has a form that its method or scheme does not allow, or a forbidden character.
    #[error("invalid request target")]
    TargetInvalid,
    /// The request line alone exceeds [`crate::Limits::max_head_bytes`].
    #[error("request target too long")]
    TargetTooLong,
    /// What follows the target is no version.
    #[error("invalid HTTP version")]
    VersionInvalid,
    /// A version other than 1.0 and 1.1.
    #[error("unsupported HTTP version")]
    VersionUnsupported,
}

impl RequestError {
    /// The status of the answer: 400, 414, 417, 431, 501 or 505.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::TargetTooLong => 414,
            Self::ExpectUnknown => 417,
            Self::Field(FieldError::TooLarge | FieldError::TooManyFields) => 431,
            Self::Framing(FramingError::CodingUnsupported) => 501,
            Self::VersionUnsupported => 505,
            _ => 400,
        }
    }
}

/// Why a response head is refused. The connection cannot be used after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResponseError {
    /// A field line is wrong.
    #[error(transparent)]
    Field(#[from] FieldError),
    /// The body's end cannot be told.
    #[error(transparent)]
    Framing(#[from] FramingError),
    /// An interim response that announces a body.
    #[error("interim response with a body")]
    InterimBody,
    /// The status line is not `version SP status SP reason`.
    #[error("invalid status line")]
    LineInvalid,
    /// The status is not three digits of 100 or more.
    #[error("invalid status")]
    StatusInvalid,
    /// 101 to a request that asked for no upgrade, or without `Upgrade`.
    #[error("unexpected protocol switch")]
    SwitchUnexpected,
    /// The first line does not begin with a version.
    #[error("invalid HTTP version")]
    VersionInvalid,
    /// A version other than 1.0 and 1.1.
    #[error("unsupported HTTP version")]
    VersionUnsupported,
}

impl ResponseError {
    /// The status that the client gets in place of such a response: 502.
    #[must_use]
    pub fn status(self) -> u16 {
        502
    }
}
