//! PostgreSQL's binary COPY format: <https://www.postgresql.org/docs/15/sql-copy.html>, "Binary Format". All numbers are big-endian;
//! text and json are their bytes, a uuid its 16, a timestamptz microseconds since 2000. `copy … to stdout` sends each row as a message
//! (<https://www.postgresql.org/docs/15/protocol-flow.html>, "COPY Operations"); the header comes with the first, the trailer is the
//! last.

/// How the data begins; an extension of the header has never been used.
pub const HEADER: &[u8; 19] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// How it ends: in the place of a row's number of fields.
pub const TRAILER: [u8; 2] = (-1_i16).to_be_bytes();
/// 2000-01-01T00:00:00Z, from which times are counted, in microseconds since 1970.
pub const EPOCH_UNIX_MICROS: i64 = 946_684_800_000_000;

/// These bytes are not rows of so many fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("these bytes are not in PostgreSQL's binary COPY format")]
pub struct CopyFormatError;

/// A row of `N` fields; a field is `None` where it is null.
pub struct CopyRow<'a, const N: usize>([Option<&'a [u8]>; N]);

/// Takes the next row off `rest`; `None` at the end.
///
/// # Errors
/// When `rest` does not begin with a row of `N` fields.
#[inline]
pub fn next_row<'a, const N: usize>(
    rest: &mut &'a [u8],
) -> Result<Option<CopyRow<'a, N>>, CopyFormatError> {
    if rest.is_empty() || rest.starts_with(&TRAILER) {
        return Ok(None);
    }
    let (count, mut left) = rest.split_first_chunk::<2>().ok_or(CopyFormatError)?;
    if usize::try_from(i16::from_be_bytes(*count)) != Ok(N) {
        return Err(CopyFormatError);
    }
    let mut fields = [None; N];
    for field in &mut fields {
        let (length, after) = left.split_first_chunk::<4>().ok_or(CopyFormatError)?;
        left = after;
        // A null has the length -1.
        if let Ok(length) = usize::try_from(i32::from_be_bytes(*length)) {
            let (bytes, after) = left.split_at_checked(length).ok_or(CopyFormatError)?;
            (*field, left) = (Some(bytes), after);
        }
    }
    *rest = left;
    Ok(Some(CopyRow(fields)))
}

impl<'a, const N: usize> CopyRow<'a, N> {
    /// A text, or json; `None` when it is null or none.
    #[inline]
    pub fn text(&self, field: usize) -> Option<&'a str> {
        std::str::from_utf8(self.0[field]?).ok()
    }

    /// A field of `M` bytes; `None` when it is null or none.
    #[inline]
    pub fn fixed<const M: usize>(&self, field: usize) -> Option<[u8; M]> {
        self.0[field]?.try_into().ok()
    }

    /// A bigint; `None` when it is null or none.
    #[inline]
    pub fn bigint(&self, field: usize) -> Option<i64> {
        self.fixed(field).map(i64::from_be_bytes)
    }

    /// A timestamptz, in microseconds since 1970; `None` when it is null or none.
    #[inline]
    pub fn unix_micros(&self, field: usize) -> Option<i64> {
        self.bigint(field)?.checked_add(EPOCH_UNIX_MICROS)
    }
}
