//! The hash in Redis: looking at it, moving it, and putting another in its place. Each is one command or one script,
//! so that nobody ever sees half of it.

use super::connection::Connection;
use super::format::{STATE, State, checked};
use super::read::Shown;
use event_log::Position;
use redis::{RedisResult, Script};
use std::sync::LazyLock;
use uuid::Uuid;

/// How many fields one command writes at most.
const FIELDS: usize = 1_000;
/// How long a hash may be in the making, in seconds; what a process that died has left is gone then.
const IN_THE_MAKING: i64 = 60;

/// From the state it must have (1) to another (2), and the counters, field and value. Answers which state it has when that
/// is not so, else nothing.
static ADVANCE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local stands = redis.call('hget', KEYS[1], '@state')
         if stands ~= ARGV[1] then return stands or '' end
         for i = 3, #ARGV, 2 do redis.call('hset', KEYS[1], ARGV[i], ARGV[i + 1]) end
         redis.call('hset', KEYS[1], '@state', ARGV[2])
         return nil",
    )
});

/// Puts a hash (key 2) in the place of another (key 1), unless that has become newer than its position (1) since it was
/// seen with a state (2), or some of its fields (3, their number) were lost in the making. Answers what came of it, and
/// which state the other had. Older never wins.
static PLACE: LazyLock<Script> = LazyLock::new(|| {
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

/// What became of a hash that was to be put in place.
pub(super) enum Placed {
    There(State),
    /// What stood there had moved on meanwhile, to a later position, and stays; its state, unless it is none.
    Newer(Option<State>),
    /// It was gone, or some of it, before it was in place.
    Lost,
}

/// Some fields of a hash, as they stood at one moment.
pub(super) struct Fields {
    pub(super) state: State,
    /// How many fields there are in all.
    pub(super) count: usize,
    /// Those that were asked for, in that order.
    pub(super) texts: Vec<Option<String>>,
}

/// One partition's counters in Redis.
pub(super) struct Counters {
    connection: Connection,
    key: String,
    /// Who we are, in this life.
    me: String,
}

impl Counters {
    pub(super) fn new(connection: Connection, key: String, me: Uuid) -> Self {
        Self { connection, key, me: me.to_string() }
    }

    /// From now on they are at `key`.
    pub(super) fn move_to(&mut self, key: String) {
        self.key = key;
    }

    pub(super) fn key(&self) -> &str {
        &self.key
    }

    /// Whether it was we who left them so.
    pub(super) fn wrote(&self, state: &State) -> bool {
        state.by == self.me
    }

    /// The text of their state; `None` when they are not there, or are nothing that has one.
    pub(super) async fn look(&self) -> RedisResult<Option<String>> {
        let mut asked = redis::cmd("HGET");
        asked.arg(&self.key).arg(STATE);
        let answer = self.connection.ask(async |redis| asked.query_async(redis).await).await;
        match answer {
            Err(error) if error.code() == Some("WRONGTYPE") => Ok(None),
            answer => answer,
        }
    }

    /// What a text says that was found as their state; `None` when it is not one.
    pub(super) fn read_state(&self, text: &str) -> Option<State> {
        State::read(&self.key, text)
    }

    /// The counters of `products`, and the state they are of; `None` when there is no state.
    pub(super) async fn read(&self, products: &[i64]) -> RedisResult<Option<Fields>> {
        let mut asked = redis::pipe();
        asked.atomic();
        asked.cmd("HMGET").arg(&self.key).arg(STATE).arg(products);
        asked.cmd("HLEN").arg(&self.key);
        let answer = self.connection.ask(async |redis| asked.query_async(redis).await).await;
        let (mut texts, count): (Vec<Option<String>>, usize) = answer?;
        let state = (!texts.is_empty()).then(|| texts.remove(0)).flatten().and_then(|text| self.read_state(&text));
        Ok(state.map(|state| Fields { state, count, texts }))
    }

    /// Moves them from `from` to what `shown` says, with `listed` as the list's position when that changed; else says
    /// which state they have, if it is one.
    pub(super) async fn advance(
        &self,
        from: &State,
        shown: &Shown,
        listed: Option<Position>,
    ) -> RedisResult<Result<State, Option<State>>> {
        let to = self.state(shown, listed.unwrap_or(from.listed));
        let mut advance = ADVANCE.key(&self.key);
        advance.arg(&from.text).arg(&to.text);
        for (field, value) in self.products(shown) {
            advance.arg(field).arg(value);
        }
        let stands: Option<String> = self.connection.ask(async |redis| advance.invoke_async(redis).await).await?;
        Ok(stands.map_or(Ok(to), |stands| Err(self.read_state(&stands))))
    }

    /// Puts `shown` in the place of whatever was `seen` there, with all its fields at once.
    pub(super) async fn place(&self, seen: Option<String>, shown: &Shown) -> RedisResult<Placed> {
        let state = self.state(shown, shown.position);
        let mut fields = vec![(STATE.to_owned(), state.text.clone())];
        fields.extend(self.products(shown));
        let making = format!("{}:{}", self.key, Uuid::now_v7());
        for some in fields.chunks(FIELDS) {
            let mut written = redis::pipe();
            written.cmd("HSET").arg(&making).arg(some).ignore();
            written.cmd("EXPIRE").arg(&making).arg(IN_THE_MAKING).ignore();
            self.connection.ask(async |redis| written.exec_async(redis).await).await?;
        }
        let mut place = PLACE.key(&self.key);
        place.key(&making).arg(shown.position).arg(seen.unwrap_or_default()).arg(fields.len());
        let (came, stands): (String, Option<String>) =
            self.connection.ask(async |redis| place.invoke_async(redis).await).await?;
        Ok(match came.as_str() {
            "there" => Placed::There(state),
            "newer" => Placed::Newer(stands.and_then(|stands| self.read_state(&stands))),
            _ => Placed::Lost,
        })
    }

    fn state(&self, shown: &Shown, listed: Position) -> State {
        State::new(&self.key, shown.position, listed, &shown.event_hash, &self.me)
    }

    fn products(&self, shown: &Shown) -> impl Iterator<Item = (String, String)> {
        shown.products.iter().map(|product| {
            let field = product.id.to_string();
            let value = checked(&self.key, &field, &format!("{}:{}", product.counter(), shown.position));
            (field, value)
        })
    }
}

#[cfg(test)]
mod tests;
