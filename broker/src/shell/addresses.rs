//! Where to listen, and what to tell clients: from command line, config file and defaults, in this order.

use std::net::{SocketAddr, ToSocketAddrs};

use net::socket::{BoundListener, bind_shared};

use super::{Options, StartError};
use crate::config::{BrokerConfig, Listener};
use crate::ids::ShardId;
use crate::metadata::Endpoint;
use crate::placement::core_port;

/// The default of the shared listener.
const LISTEN: &str = "PLAINTEXT://127.0.0.1:9092";

/// The default of the first core-direct listener.
const CORE_LISTEN: &str = "CORE://127.0.0.1:9192";

/// Kafka's number of the protocol without encryption and authentication.
const PLAINTEXT: i16 = 0;

/// All listening sockets of the broker.
pub struct Addresses {
    /// One per shard for each address that is shared.
    pub shared: Vec<Vec<BoundListener>>,
    /// One per shard, or none at all.
    pub core_direct: Vec<BoundListener>,
    /// What clients are told.
    pub endpoints: Vec<Endpoint>,
    /// For people: `127.0.0.1:9092 (core-direct 127.0.0.1:9192-9193)`.
    pub text: String,
}

/// Adds what the command line says to the config.
pub fn with_command_line(config: &BrokerConfig, options: &Options) -> Result<BrokerConfig, StartError> {
    let mut result = config.clone();
    let mut set = |key: &str, value: &str| {
        result = result.with(key, value).map_err(|error| StartError(error.to_string()))?;
        Ok::<(), StartError>(())
    };
    // So that it is told as the directory it is. A list of one with a comma in it cannot be written.
    if let Some(data) =
        options.data.as_ref().and_then(|data| data.to_str()).filter(|data| !data.contains(','))
    {
        set("log.dirs", data)?;
    }
    if let Some(listen) = &options.listen {
        // Under the name that the file gives it, so that what the file advertises goes with it.
        let name = config.listeners.first().map_or("PLAINTEXT", |listener| listener.name.as_str());
        set("listeners", &format!("{name}://{listen}"))?;
    }
    if let Some(listen) = options.core_listen.as_deref().filter(|listen| *listen != "none") {
        set("core.listeners", &format!("CORE://{listen}"))?;
    }
    Ok(result)
}

/// Binds all listeners.
pub fn bind(config: &BrokerConfig, options: &Options, shards: usize) -> Result<Addresses, StartError> {
    let listeners = match config.listeners.as_slice() {
        [] => vec![Listener::parse(LISTEN).expect("the default is an address")],
        listeners => listeners.to_vec(),
    };
    let mut addresses =
        Addresses { shared: Vec::new(), core_direct: Vec::new(), endpoints: Vec::new(), text: String::new() };
    for listener in &listeners {
        let bound = bind_shared(resolve(listener)?, shards).map_err(|error| {
            refused(&error, "stop that process, or choose another with --listen HOST:PORT")
        })?;
        let address = local(&bound[0])?;
        let advertised =
            config.advertised_listeners.iter().find(|advertised| advertised.name == listener.name);
        addresses.add_text(&address.to_string());
        addresses.endpoints.push(endpoint(listener, advertised, options, address.port(), false)?);
        addresses.shared.push(bound);
    }
    if options.core_listen.as_deref() != Some("none") {
        let listener = match &config.core_listener {
            Some(listener) => listener.clone(),
            None => Listener::parse(CORE_LISTEN).expect("the default is an address"),
        };
        addresses.core_direct = bind_consecutive(resolve(&listener)?, shards)?;
        let first = local(&addresses.core_direct[0])?;
        let last = core_port(first.port(), ShardId(shards as u16 - 1));
        let text =
            if shards == 1 { format!("core-direct {first}") } else { format!("core-direct {first}-{last}") };
        addresses.text.push_str(&format!(" ({text})"));
        let advertised = config.core_advertised_listener.as_ref();
        addresses.endpoints.push(endpoint(&listener, advertised, options, first.port(), true)?);
    }
    Ok(addresses)
}

impl Addresses {
    fn add_text(&mut self, address: &str) {
        if !self.text.is_empty() {
            self.text.push_str(", ");
        }
        self.text.push_str(address);
    }
}

/// One listener per shard, at ports that follow each other; port 0 takes the first run of free ones.
fn bind_consecutive(address: SocketAddr, shards: usize) -> Result<Vec<BoundListener>, StartError> {
    /// Free ports seldom stand alone: a few tries find a run.
    const TRIES: usize = 64;
    let remedy =
        "stop that process, or choose other ports with --core-listen HOST:PORT (none for no such listeners)";
    for _ in 0..TRIES {
        let mut bound = bind_shared(address, 1).map_err(|error| refused(&error, remedy))?;
        let first = local(&bound[0])?;
        let rest: Result<Vec<_>, _> = (1..shards)
            .map(|shard| {
                let port = u16::try_from(core_port(first.port(), ShardId(shard as u16))).map_err(|_| {
                    let text = format!(
                        "there are no {shards} ports from {first} on: choose others with --core-listen"
                    );
                    (false, StartError(text))
                })?;
                bind_shared(SocketAddr::new(first.ip(), port), 1)
                    .map_err(|error| (true, refused(&error, remedy)))
            })
            .collect();
        match rest {
            Ok(rest) => {
                bound.extend(rest.into_iter().flatten());
                return Ok(bound);
            }
            Err((true, _)) if address.port() == 0 => {}
            Err((_, error)) => return Err(error),
        }
    }
    Err(StartError(format!(
        "no {shards} free ports in a row were found: choose some with --core-listen HOST:PORT"
    )))
}

fn endpoint(
    listener: &Listener,
    advertised: Option<&Listener>,
    options: &Options,
    bound_port: u16,
    core_direct: bool,
) -> Result<Endpoint, StartError> {
    let host = match (&options.advertised, advertised) {
        (Some(host), _) => host.clone(),
        (None, Some(advertised)) => advertised.host.clone(),
        (None, None) if listener.is_routable() => listener.host.clone(),
        (None, None) => host_name()?,
    };
    let port = advertised.map_or(bound_port, |advertised| advertised.port);
    Ok(Endpoint { name: listener.name.clone(), host, port, security_protocol: PLAINTEXT, core_direct })
}

/// What clients are told where all interfaces are listened on: this machine's name, as Kafka does.
fn host_name() -> Result<String, StartError> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() {
        return Err(StartError(
            "this machine has no name to tell clients: give one with --advertised HOST".into(),
        ));
    }
    Ok(name.to_owned())
}

fn resolve(listener: &Listener) -> Result<SocketAddr, StartError> {
    let host = if listener.host.is_empty() { "0.0.0.0" } else { &listener.host };
    let unknown = |why: String| {
        StartError(format!("{listener} cannot be listened on: {why}: give an address of this machine"))
    };
    (host, listener.port)
        .to_socket_addrs()
        .map_err(|error| unknown(error.to_string()))?
        .next()
        .ok_or_else(|| unknown("the host has no address".into()))
}

fn local(listener: &BoundListener) -> Result<SocketAddr, StartError> {
    listener
        .local_addr()
        .map_err(|error| StartError(format!("a listener does not know its address: {error}")))
}

fn refused(error: &net::socket::BindError, remedy: &str) -> StartError {
    StartError(format!("{error}: {remedy}"))
}
