//! States as enums in the code and as words in the database.

/// A stored word that this release does not know.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not a word that this release stores")]
pub struct UnknownWordError(pub(crate) String);

impl From<UnknownWordError> for sqlx::Error {
    fn from(error: UnknownWordError) -> Self {
        Self::Decode(error.into())
    }
}

/// An enum whose variants are stored as words.
macro_rules! stored_words {
    ($(#[$meta:meta])* $name:ident { $($(#[$variant_meta:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $($(#[$variant_meta])* $variant,)*
        }

        impl $name {
            /// All of them, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The stored word.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)*
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = $crate::stored_word::UnknownWordError;

            fn try_from(word: String) -> Result<Self, Self::Error> {
                match word.as_str() {
                    $($word => Ok(Self::$variant),)*
                    _ => Err($crate::stored_word::UnknownWordError(word)),
                }
            }
        }
    };
}
