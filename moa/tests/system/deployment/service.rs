//! The services of a deployment.

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Service {
    CommandApi,
    QueryApi,
    Projector,
    Relay,
    Admin,
}

pub const SERVICES: [Service; 5] = [
    Service::CommandApi,
    Service::QueryApi,
    Service::Projector,
    Service::Relay,
    Service::Admin,
];

impl Service {
    pub fn name(self) -> &'static str {
        match self {
            Self::CommandApi => "command-api",
            Self::QueryApi => "query-api",
            Self::Projector => "projector",
            Self::Relay => "relay",
            Self::Admin => "admin",
        }
    }

    /// The setting of its own listener, if it has one beside the ops port.
    pub fn listen(self) -> Option<&'static str> {
        match self {
            Self::CommandApi => Some("MOA_COMMAND_LISTEN"),
            Self::QueryApi => Some("MOA_QUERY_LISTEN"),
            Self::Admin => Some("MOA_ADMIN_LISTEN"),
            Self::Projector | Self::Relay => None,
        }
    }
}
