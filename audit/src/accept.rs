//! Content negotiation: the offered format that a client's `Accept` prefers (RFC 9110, section 12.5.1).

use axum::http::{HeaderMap, header};

/// How well a media range fits: by its quality, then by how much of the media type it names, then by its place.
type Fit = (u16, u8, std::cmp::Reverse<usize>);

/// Quality values have up to three decimals.
const FULL_QUALITY: u16 = 1_000;

/// A media range with its quality, such as `text/*;q=0.5`.
struct Range {
    kind: String,
    subtype: String,
    quality: u16,
}

/// The one of `offers`, media types in lower case, that the client takes best; `None` where it takes none of them, or does
/// not say. A range that cannot be read counts as if it were not there.
pub(crate) fn best<T: Copy>(headers: &HeaderMap, offers: &[(&str, T)]) -> Option<T> {
    let values = headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok());
    let ranges: Vec<_> = values
        .flat_map(|value| value.split(','))
        .filter_map(Range::read)
        .collect();
    let fits = offers
        .iter()
        .filter_map(|(offer, it)| Some((fit(&ranges, offer)?, *it)));
    // Of equals the first offer.
    fits.rev().max_by_key(|(fit, _)| *fit).map(|(_, it)| it)
}

/// By the range that names the most of the offer; `None` where it is not taken.
fn fit(ranges: &[Range], offer: &str) -> Option<Fit> {
    let (kind, subtype) = offer.split_once('/')?;
    let named = ranges.iter().enumerate().filter_map(|(place, range)| {
        Some((
            range.precision(kind, subtype)?,
            std::cmp::Reverse(place),
            range.quality,
        ))
    });
    let (precision, place, quality) = named.max()?;
    (quality > 0).then_some((quality, precision, place))
}

impl Range {
    fn read(text: &str) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        let (kind, subtype) = parts.next()?.split_once('/')?;
        let mut quality = FULL_QUALITY;
        for parameter in parts {
            if let Some((name, value)) = parameter.split_once('=')
                && name.trim_end().eq_ignore_ascii_case("q")
            {
                quality = read_quality(value.trim_start())?;
            }
        }
        Some(Self {
            kind: kind.to_ascii_lowercase(),
            subtype: subtype.to_ascii_lowercase(),
            quality,
        })
    }

    /// How much of the media type it names: 2 all, 1 its kind, 0 nothing; `None` where it names another.
    fn precision(&self, kind: &str, subtype: &str) -> Option<u8> {
        match (self.kind.as_str(), self.subtype.as_str()) {
            ("*", "*") => Some(0),
            (named, "*") if named == kind => Some(1),
            (named, of_it) if (named, of_it) == (kind, subtype) => Some(2),
            _ => None,
        }
    }
}

/// `0` to `1` with up to three decimals, in thousandths.
fn read_quality(text: &str) -> Option<u16> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    let is_shaped = matches!(whole, "0" | "1")
        && decimals.len() <= 3
        && decimals.bytes().all(|b| b.is_ascii_digit());
    let thousandths: u16 = format!("{decimals:0<3}")
        .parse()
        .ok()
        .filter(|_| is_shaped)?;
    let quality = if whole == "1" {
        FULL_QUALITY + thousandths
    } else {
        thousandths
    };
    (quality <= FULL_QUALITY).then_some(quality)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;
    use rstest::rstest;

    const OFFERS: [(&str, &str); 3] = [
        ("application/json", "json"),
        ("application/x-ndjson", "ndjson"),
        ("text/csv", "csv"),
    ];

    #[rstest]
    #[case(&[], None)]
    #[case(&[""], None)]
    #[case(&["image/png"], None)]
    #[case(&["*/*"], Some("json"))]
    #[case(&["application/*"], Some("json"))]
    #[case(&["text/*"], Some("csv"))]
    #[case(&["text/csv"], Some("csv"))]
    #[case(&["Text/CSV ; header=present"], Some("csv"))]
    #[case(&["text/html", "text/csv"], Some("csv"))]
    #[case(&["application/json, text/csv"], Some("json"))]
    #[case(&["text/csv, application/json"], Some("csv"))]
    #[case(&["*/*, text/csv"], Some("csv"))]
    #[case(&["text/html, application/x-ndjson;q=0.9, text/csv"], Some("csv"))]
    #[case(&["text/csv;q=0.8, application/x-ndjson;q=0.9"], Some("ndjson"))]
    #[case(&["text/csv;q=0.8, */*;q=0.7"], Some("csv"))]
    #[case(&["text/csv;q=0.001"], Some("csv"))]
    #[case(&["text/csv;q=1.000"], Some("csv"))]
    #[case(&["text/csv;Q = 0.5"], Some("csv"))]
    // Not taken.
    #[case(&["text/csv;q=0"], None)]
    #[case(&["text/csv;q=0.000"], None)]
    #[case(&["text/csv; header=present; q=0"], None)]
    #[case(&["text/csv;q=0, */*"], Some("json"))]
    #[case(&["text/*, text/csv;q=0"], None)]
    #[case(&["text/*;q=0, text/csv"], Some("csv"))]
    #[case(&["*/*;q=0"], None)]
    #[case(&["application/json;q=0, */*;q=0.1"], Some("ndjson"))]
    // Not readable.
    #[case(&["text/csv;q=2"], None)]
    #[case(&["text/csv;q=1.001"], None)]
    #[case(&["text/csv;q=-1"], None)]
    #[case(&["text/csv;q=0.0001"], None)]
    #[case(&["text/csv;q="], None)]
    #[case(&["text/csv;q=high"], None)]
    #[case(&["csv"], None)]
    #[case(&["csv, application/x-ndjson"], Some("ndjson"))]
    fn the_best_that_is_taken_counts(#[case] accept: &[&str], #[case] expected: Option<&str>) {
        let mut headers = HeaderMap::new();
        for value in accept {
            headers.append(header::ACCEPT, HeaderValue::from_str(value).unwrap());
        }
        assert_eq!(best(&headers, &OFFERS), expected);
    }
}
