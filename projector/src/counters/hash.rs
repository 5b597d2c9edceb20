//! The hash in Redis: looking at it, moving it, and putting another in its place. Each is one command or one script,
//! so that nobody ever sees half of it.

use super::connection::Connection;
use super::counters_key;
use super::read::Shown;
use event_log::{Partition, Position};
use redis::{RedisResult, Script};
use std::sync::LazyLock;
use uuid::Uuid;

pub(super) const POSITION: &str = "@position";
const PRODUCTS: &str = "@products";
const BY: &str = "@by";

/// How many fields one command writes at most.
const FIELDS: usize = 1_000;
/// How long a hash may be in the making, in seconds; what a process that died has left is gone then.
const IN_THE_MAKING: i64 = 60;

/// From the position it must stand at (1) to another (2), by whom (3), with the list's position if that moves too (4),
/// and the counters, field and value. Answers where it stands when that is elsewhere, else nothing.
static ADVANCE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local stands = redis.call('hmget', KEYS[1], '@position', '@by')
         if stands[1] ~= ARGV[1] then return stands end
         for i = 5, #ARGV, 2 do redis.call('hset', KEYS[1], ARGV[i], ARGV[i + 1]) end
         if ARGV[4] ~= '' then redis.call('hset', KEYS[1], '@products', ARGV[4]) end
         redis.call('hset', KEYS[1], '@position', ARGV[2], '@by', ARGV[3])
         return nil",
    )
});

/// Puts a hash (key 2) in the place of another (key 1), unless that has become newer than its position (1) since it was
/// seen at (2), or some of its fields (3, their number) were lost in the making. Answers what came of it, and where the
/// other stood. Older never wins.
static PLACE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local stands = false
         if redis.call('type', KEYS[1]).ok == 'hash' then stands = redis.call('hget', KEYS[1], '@position') end
         if redis.call('hlen', KEYS[2]) ~= tonumber(ARGV[3]) then
             redis.call('unlink', KEYS[2])
             return {'lost', stands}
         end
         if stands and stands ~= ARGV[2] and (tonumber(stands) or -1) > tonumber(ARGV[1]) then
             redis.call('unlink', KEYS[2])
             return {'newer', stands}
         end
         redis.call('unlink', KEYS[1])
         redis.call('rename', KEYS[2], KEYS[1])
         redis.call('persist', KEYS[1])
         return {'there', stands}",
    )
});

/// Where the counters stand, and who left them there.
#[derive(Debug)]
pub(super) struct Stands {
    /// Before all positions when what stands there is none.
    pub(super) position: Position,
    by: Option<String>,
    /// The position as it is written there.
    written: String,
}

/// What became of a hash that was to be put in place.
pub(super) enum Placed {
    There,
    /// What stood there had moved on meanwhile, to this position, and stays.
    Newer(Position),
    /// It was gone, or some of it, before it was in place.
    Lost,
}

/// One partition's counters in Redis.
pub(super) struct Counters {
    connection: Connection,
    key: String,
    /// Who we are, in this life.
    me: String,
}

impl Counters {
    pub(super) fn new(connection: Connection, log_id: Uuid, partition: Partition, me: Uuid) -> Self {
        Self { connection, key: counters_key(log_id, partition), me: me.to_string() }
    }

    /// Whether it was we who left them where they stand.
    pub(super) fn wrote(&self, stands: &Stands) -> bool {
        stands.by.as_ref() == Some(&self.me)
    }

    /// Where they stand; `None` when they are not there, or are nothing that has a position.
    pub(super) async fn look(&self) -> RedisResult<Option<Stands>> {
        let mut asked = redis::cmd("HMGET");
        asked.arg(&self.key).arg(POSITION).arg(BY);
        let answer = self.connection.ask(async |redis| asked.query_async(redis).await).await;
        match answer {
            Ok(fields) => Ok(stands(fields)),
            Err(error) if error.code() == Some("WRONGTYPE") => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Moves them from `from` to what `shown` says, with `listed` as the list's position when that changed; else says
    /// where they stand.
    pub(super) async fn advance(
        &self,
        from: Position,
        shown: &Shown,
        listed: Option<Position>,
    ) -> RedisResult<Result<(), Option<Stands>>> {
        let mut advance = ADVANCE.key(&self.key);
        advance.arg(from).arg(shown.position).arg(&self.me);
        advance.arg(listed.map(|position| position.to_string()).unwrap_or_default());
        for product in &shown.products {
            advance.arg(product.id).arg(product.counter());
        }
        let answer: Option<Fields> = self.connection.ask(async |redis| advance.invoke_async(redis).await).await?;
        Ok(answer.map_or(Ok(()), |fields| Err(stands(fields))))
    }

    /// Puts `shown` in the place of whatever was `seen` there, with all its fields at once.
    pub(super) async fn place(&self, seen: Option<Stands>, shown: &Shown) -> RedisResult<Placed> {
        let fields = self.fields(shown);
        let making = format!("{}:{}", self.key, Uuid::now_v7());
        for some in fields.chunks(FIELDS) {
            let mut written = redis::pipe();
            written.cmd("HSET").arg(&making).arg(some).ignore();
            written.cmd("EXPIRE").arg(&making).arg(IN_THE_MAKING).ignore();
            self.connection.ask(async |redis| written.exec_async(redis).await).await?;
        }
        let seen = seen.map(|stands| stands.written).unwrap_or_default();
        let mut place = PLACE.key(&self.key);
        place.key(&making).arg(shown.position).arg(seen).arg(fields.len());
        let (came, stands): (String, Option<String>) =
            self.connection.ask(async |redis| place.invoke_async(redis).await).await?;
        let newer = stands.and_then(|position| position.parse().ok()).map(Placed::Newer);
        Ok(match came.as_str() {
            "there" => Placed::There,
            "newer" => newer.unwrap_or(Placed::Lost),
            _ => Placed::Lost,
        })
    }

    fn fields(&self, shown: &Shown) -> Vec<(String, String)> {
        let position = shown.position.to_string();
        let mut fields =
            vec![(POSITION.into(), position.clone()), (PRODUCTS.into(), position), (BY.into(), self.me.clone())];
        fields.extend(shown.products.iter().map(|product| (product.id.to_string(), product.counter())));
        fields
    }
}

/// `@position` and `@by`.
type Fields = (Option<String>, Option<String>);

fn stands((position, by): Fields) -> Option<Stands> {
    position.map(|written| Stands { position: written.parse().unwrap_or(-1), by, written })
}

#[cfg(test)]
mod tests;
