//! The hash in Redis: reads it, advances it, and replaces it. Each is one command or one script, so that nobody ever sees a
//! part of it.

use super::connection::Connection;
use super::format::{STATE, State, checked};
use super::read::ProductSnapshot;
use event_log::Position;
use redis::{RedisResult, Script};
use std::sync::LazyLock;
use uuid::Uuid;

/// The most fields that one command writes.
const MAX_FIELDS_PER_COMMAND: usize = 1_000;
/// How long a staged hash lives, in seconds: one that a dead process left expires then.
const STAGING_TTL_S: i64 = 60;

/// Advances a hash from the state that it must have (1) to another (2), with counters as fields and values. Returns the state
/// that it has when that differs, else nothing.
static ADVANCE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local stands = redis.call('hget', KEYS[1], '@state')
         if stands ~= ARGV[1] then return stands or '' end
         for i = 3, #ARGV, 2 do redis.call('hset', KEYS[1], ARGV[i], ARGV[i + 1]) end
         redis.call('hset', KEYS[1], '@state', ARGV[2])
         return nil",
    )
});

/// Replaces a hash (key 1) with a staged one (key 2), unless the old one advanced past the staged position (1) since it was
/// read with a state (2), or some of the staged fields (3, their number) were lost. Returns the result, and the state of the
/// old one. An older hash never replaces a newer one.
static REPLACE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local stands = false
         if redis.call('type', KEYS[1]).ok == 'hash' then stands = redis.call('hget', KEYS[1], '@state') end
         if redis.call('hlen', KEYS[2]) ~= tonumber(ARGV[3]) then
             redis.call('unlink', KEYS[2])
             return {'lost', stands}
         end
         local position = tonumber(string.match(stands or '', '^(%d+):') or '-1')
         if stands and stands ~= ARGV[2] and position > tonumber(ARGV[1]) then
             redis.call('unlink', KEYS[2])
             return {'newer', stands}
         end
         redis.call('unlink', KEYS[1])
         redis.call('rename', KEYS[2], KEYS[1])
         redis.call('persist', KEYS[1])
         return {'there', stands}",
    )
});

/// The result of a replacement.
pub(super) enum SwapResult {
    Replaced(State),
    /// The old hash advanced to a later position meanwhile, and stays; its state, if it has one.
    Newer(Option<State>),
    /// The staged hash, or a part of it, was lost before.
    Lost,
}

/// Some fields of a hash, at one moment.
pub(super) struct Fields {
    pub(super) state: State,
    /// How many fields there are in all.
    pub(super) count: usize,
    /// The requested fields, in that order.
    pub(super) texts: Vec<Option<String>>,
}

/// One partition's counters in Redis.
pub(super) struct Counters {
    connection: Connection,
    key: String,
    /// The UUID of this run of the consumer.
    me: String,
}

impl Counters {
    pub(super) fn new(connection: Connection, key: String, me: Uuid) -> Self {
        Self {
            connection,
            key,
            me: me.to_string(),
        }
    }

    /// Uses `key` from now on.
    pub(super) fn set_key(&mut self, key: String) {
        self.key = key;
    }

    pub(super) fn key(&self) -> &str {
        &self.key
    }

    /// Whether this run of the consumer wrote `state`.
    pub(super) fn wrote(&self, state: &State) -> bool {
        state.by == self.me
    }

    /// The text of the hash's state; `None` when it does not exist, or is not a hash.
    pub(super) async fn state_text(&self) -> RedisResult<Option<String>> {
        let mut asked = redis::cmd("HGET");
        asked.arg(&self.key).arg(STATE);
        let answer = self
            .connection
            .ask(async |redis| asked.query_async(redis).await)
            .await;
        match answer {
            Err(error) if error.code() == Some("WRONGTYPE") => Ok(None),
            answer => answer,
        }
    }

    /// Parses the text of a state; `None` when it is not valid.
    pub(super) fn read_state(&self, text: &str) -> Option<State> {
        State::read(&self.key, text)
    }

    /// The counters of `products`, with the state; `None` when there is no state.
    pub(super) async fn read(&self, products: &[i64]) -> RedisResult<Option<Fields>> {
        let mut asked = redis::pipe();
        asked.atomic();
        asked.cmd("HMGET").arg(&self.key).arg(STATE).arg(products);
        asked.cmd("HLEN").arg(&self.key);
        let answer = self
            .connection
            .ask(async |redis| asked.query_async(redis).await)
            .await;
        let (mut texts, count): (Vec<Option<String>>, usize) = answer?;
        let state = (!texts.is_empty())
            .then(|| texts.remove(0))
            .flatten()
            .and_then(|text| self.read_state(&text));
        Ok(state.map(|state| Fields {
            state,
            count,
            texts,
        }))
    }

    /// Advances the hash from the state `from` to `snapshot`, with `listed` as the list's position when that changed. When the
    /// hash has another state it stays, and that state is returned, if it is valid.
    pub(super) async fn advance(
        &self,
        from: &State,
        snapshot: &ProductSnapshot,
        listed: Option<Position>,
    ) -> RedisResult<Result<State, Option<State>>> {
        let to = self.state(snapshot, listed.unwrap_or(from.listed));
        let mut advance = ADVANCE.key(&self.key);
        advance.arg(&from.text).arg(&to.text);
        for (field, value) in self.products(snapshot) {
            advance.arg(field).arg(value);
        }
        let stands: Option<String> = self
            .connection
            .ask(async |redis| advance.invoke_async(redis).await)
            .await?;
        Ok(stands.map_or(Ok(to), |stands| Err(self.read_state(&stands))))
    }

    /// Replaces the hash, whose state was `seen`, with `snapshot`, with all its fields at once.
    pub(super) async fn replace(
        &self,
        seen: Option<String>,
        snapshot: &ProductSnapshot,
    ) -> RedisResult<SwapResult> {
        let state = self.state(snapshot, snapshot.position);
        let mut fields = vec![(STATE.to_owned(), state.text.clone())];
        fields.extend(self.products(snapshot));
        let staging = format!("{}:{}", self.key, Uuid::now_v7());
        for some in fields.chunks(MAX_FIELDS_PER_COMMAND) {
            let mut written = redis::pipe();
            written.cmd("HSET").arg(&staging).arg(some).ignore();
            written
                .cmd("EXPIRE")
                .arg(&staging)
                .arg(STAGING_TTL_S)
                .ignore();
            self.connection
                .ask(async |redis| written.exec_async(redis).await)
                .await?;
        }
        let mut replace = REPLACE.key(&self.key);
        replace
            .key(&staging)
            .arg(snapshot.position)
            .arg(seen.unwrap_or_default())
            .arg(fields.len());
        let (result, stands): (String, Option<String>) = self
            .connection
            .ask(async |redis| replace.invoke_async(redis).await)
            .await?;
        Ok(match result.as_str() {
            "there" => SwapResult::Replaced(state),
            "newer" => SwapResult::Newer(stands.and_then(|stands| self.read_state(&stands))),
            _ => SwapResult::Lost,
        })
    }

    fn state(&self, snapshot: &ProductSnapshot, listed: Position) -> State {
        State::new(
            &self.key,
            snapshot.position,
            listed,
            &snapshot.event_hash,
            &self.me,
        )
    }

    fn products(&self, snapshot: &ProductSnapshot) -> impl Iterator<Item = (String, String)> {
        snapshot.products.iter().map(|product| {
            let field = product.id.to_string();
            let value = checked(
                &self.key,
                &field,
                &format!("{}:{}", product.counter(), snapshot.position),
            );
            (field, value)
        })
    }
}

#[cfg(test)]
mod tests;
