//! The network between the processes: every connection passes here, and each direction of each link may be disturbed.

use std::collections::HashMap;
use std::fs;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::net::{self, AddressFamily, RecvFlags, SendFlags, SocketType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// A process of the rig.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Node {
    Web(usize),
    Redis(usize),
    Sentinel(usize),
}

/// How bytes flow from one node to another, whoever opened the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    Pass,
    Delay(Duration),
    /// Nothing arrives, and nobody is told.
    Stall,
    /// Connections are reset, new ones too.
    Cut,
}

/// The flows between all nodes, and which process is which node.
pub struct Links {
    flows: HashMap<(Node, Node), watch::Sender<Flow>>,
    processes: Mutex<HashMap<Node, u32>>,
}

impl Links {
    pub fn new(nodes: &[Node]) -> Arc<Self> {
        let pairs = nodes.iter().flat_map(|from| nodes.iter().map(move |to| (*from, *to)));
        let flows = pairs.map(|pair| (pair, watch::Sender::new(Flow::Pass))).collect();
        Arc::new(Self { flows, processes: Mutex::default() })
    }

    pub fn set(&self, from: Node, to: Node, flow: Flow) {
        self.flows[&(from, to)].send_replace(flow);
    }

    pub fn set_both(&self, one: Node, other: Node, flow: Flow) {
        self.set(one, other, flow);
        self.set(other, one, flow);
    }

    pub fn heal(&self) {
        for flow in self.flows.values() {
            flow.send_replace(Flow::Pass);
        }
    }

    pub fn is_process(&self, node: Node, pid: u32) {
        self.processes.lock().expect("nobody panics with it").insert(node, pid);
    }

    /// Whose socket has this address: all are on one machine, and the addresses tell nothing.
    fn node_at(&self, peer: SocketAddr, here: SocketAddr) -> Option<Node> {
        let socket = format!("socket:[{}]", inode(peer, here)?);
        let holds = |pid: &u32| {
            let open = fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
            open.flatten().find(|entry| fs::read_link(entry.path()).is_ok_and(|link| link.as_os_str() == &*socket))
        };
        let processes = self.processes.lock().expect("nobody panics with it").clone();
        processes.iter().find(|(_, pid)| holds(pid).is_some()).map(|(node, _)| *node)
    }
}

/// The inode of the socket that is `peer` and connected to `here`, as the kernel tells it (sock_diag(7)). `/proc/net/tcp` would
/// list every socket of the machine for each connection.
fn inode(peer: SocketAddr, here: SocketAddr) -> Option<u32> {
    const SOCK_DIAG_BY_FAMILY: u16 = 20;
    const REQUEST: u16 = 1;
    let address = |address: SocketAddr| match address {
        SocketAddr::V4(v4) => [&v4.ip().octets()[..], &[0; 12]].concat(),
        SocketAddr::V6(_) => unreachable!("all listen on 127.0.0.1"),
    };
    // struct inet_diag_req_v2: family, protocol, extensions, padding, states; ports and addresses as on the wire; interface; no cookie.
    let asked = [
        &[AddressFamily::INET.as_raw() as u8, 6, 0, 0],
        &u32::MAX.to_ne_bytes()[..],
        &peer.port().to_be_bytes(),
        &here.port().to_be_bytes(),
        &address(peer),
        &address(here),
        &[0; 4],
        &[0xff; 8],
    ]
    .concat();
    // struct nlmsghdr: length, type, flags, sequence, port.
    let length = 16 + asked.len() as u32;
    let head =
        [&length.to_ne_bytes()[..], &SOCK_DIAG_BY_FAMILY.to_ne_bytes(), &REQUEST.to_ne_bytes(), &[0; 8]].concat();
    let kernel = net::socket(AddressFamily::NETLINK, SocketType::RAW, Some(net::netlink::SOCK_DIAG)).ok()?;
    net::send(&kernel, &[head, asked].concat(), SendFlags::empty()).ok()?;
    let mut answer = [0; 1024];
    let (length, _) = net::recv(&kernel, &mut answer[..], RecvFlags::empty()).ok()?;
    // The inode ends struct inet_diag_msg, which has 72 bytes; an error is shorter.
    let told = answer[..length].get(..16 + 72)?;
    (told[4..6] == SOCK_DIAG_BY_FAMILY.to_ne_bytes())
        .then(|| u32::from_ne_bytes(told[84..88].try_into().expect("4 bytes")))
}

/// Passes on to `upstream`, which is `to`, what comes in at `listener`.
pub async fn serve(listener: TcpListener, to: Node, upstream: SocketAddr, links: Arc<Links>) {
    let here = listener.local_addr().expect("it listens");
    while let Ok((near, peer)) = listener.accept().await {
        let links = Arc::clone(&links);
        tokio::spawn(async move {
            let looking = Arc::clone(&links);
            let from = tokio::task::spawn_blocking(move || looking.node_at(peer, here)).await;
            // Somebody that is gone already, or none of ours.
            let Ok(Some(from)) = from else { return };
            let (there, back) = (links.flows[&(from, to)].subscribe(), links.flows[&(to, from)].subscribe());
            join(near, upstream, there, back).await;
        });
    }
}

async fn join(
    mut near: TcpStream,
    upstream: SocketAddr,
    mut there: watch::Receiver<Flow>,
    mut back: watch::Receiver<Flow>,
) {
    // A new connection takes both directions, as TCP's own handshake does.
    if passes(&mut there).await.is_err() || passes(&mut back).await.is_err() {
        return drop(near.set_zero_linger());
    }
    let Ok(mut far) = TcpStream::connect(upstream).await else {
        return drop(near.set_zero_linger());
    };
    let _ = (near.set_nodelay(true), far.set_nodelay(true));
    let cut = {
        let ((near_out, near_in), (far_out, far_in)) = (near.split(), far.split());
        tokio::select! {
            cut = pump(near_out, far_in, there) => cut,
            cut = pump(far_out, near_in, back) => cut,
        }
    };
    if cut == Err(WasCut) {
        let _ = (near.set_zero_linger(), far.set_zero_linger());
    }
}

#[derive(Debug, PartialEq, Eq)]
struct WasCut;

/// Waits while the flow is stalled.
async fn passes(flow: &mut watch::Receiver<Flow>) -> Result<Option<Duration>, WasCut> {
    loop {
        match *flow.borrow_and_update() {
            Flow::Pass => return Ok(None),
            Flow::Delay(by) => return Ok(Some(by)),
            Flow::Cut => return Err(WasCut),
            Flow::Stall => {}
        }
        flow.changed().await.map_err(|_| WasCut)?;
    }
}

/// Passes bytes on until one of the two ends closes.
async fn pump(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, mut flow: watch::Receiver<Flow>) -> Result<(), WasCut> {
    let mut bytes = vec![0; 64 * 1024];
    loop {
        passes(&mut flow).await?;
        let count = tokio::select! {
            read = from.read(&mut bytes) => read.unwrap_or(0),
            _ = flow.changed() => continue,
        };
        if count == 0 {
            return Ok(());
        }
        if let Some(by) = passes(&mut flow).await? {
            tokio::time::sleep(by).await;
            passes(&mut flow).await?;
        }
        let mut rest = &bytes[..count];
        while !rest.is_empty() {
            tokio::select! {
                written = to.write(rest) => match written {
                    Ok(written) if written > 0 => rest = &rest[written..],
                    _ => return Ok(()),
                },
                _ = flow.changed() => drop(passes(&mut flow).await?),
            }
        }
    }
}
