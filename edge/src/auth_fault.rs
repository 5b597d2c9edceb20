//! Why a request is nobody's, in the words of its answer.

/// Why a request is nobody's. Each says what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthFault {
    /// Neither the gateway's secret nor its signature, or a wrong one, or several.
    NotTheGateway,
    /// The signature's time is too far from ours.
    StaleSignature,
    /// The signature came with another request before.
    UsedSignature,
    /// No bearer token, or several.
    NoToken,
    /// The token's time is over.
    ExpiredToken,
    /// The token is malformed, not yet valid, of another issuer or audience, or signed otherwise than by a key of the identity provider.
    BadToken,
    /// `X-USER-ID` names another user than the token.
    OtherUser,
}

impl AuthFault {
    pub(crate) fn message(self) -> &'static str {
        match self {
            Self::NotTheGateway => {
                "Not from the gateway, send X-Gateway-Secret or X-Gateway-Signature : "
            }
            Self::StaleSignature => {
                "Signature is not of this time, sign each request when it is sent : "
            }
            Self::UsedSignature => {
                "Signature was used before, sign each request when it is sent : "
            }
            Self::NoToken => "Missing bearer token, send one in the Authorization header : ",
            Self::ExpiredToken => "Bearer token has expired, get a new one : ",
            Self::BadToken => "Bearer token is not accepted, get one for this service : ",
            Self::OtherUser => "X-USER-ID is not the user of the bearer token, leave it out : ",
        }
    }

    /// What `WWW-Authenticate` says (RFC 6750 for bearer tokens).
    pub(crate) fn challenge(self) -> &'static str {
        match self {
            Self::NotTheGateway | Self::StaleSignature | Self::UsedSignature => "Gateway",
            Self::NoToken => "Bearer",
            Self::ExpiredToken | Self::BadToken | Self::OtherUser => {
                r#"Bearer error="invalid_token""#
            }
        }
    }
}
