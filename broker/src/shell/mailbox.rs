//! Letters between the executors of a broker: a queue for every ordered pair, a bell for every receiver.
//!
//! Letters from one sender to one receiver arrive in the order they were sent. A queue has one producer and one
//! consumer, so there is no lock; a receiver is woken at most once per turn of a sender. What does not fit waits with
//! the sender, in order, and a sender whose backlog is over [`BACKLOG_MAX`] should take in no new work.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::Waker;

use glommio::channels::spsc_queue::{Consumer, Producer, make};

use crate::ids::{Address, ShardId};

/// Letters in the queue of one ordered pair.
const LANE_LETTERS: usize = 1024;

/// Letters that wait for a place in a queue before a shard stops reading from its sockets.
pub const BACKLOG_MAX: usize = 4096;

/// The mailbox of one executor.
pub struct Mailbox<T: Send + Sync> {
    me: usize,
    outgoing: Vec<Outgoing<T>>,
    incoming: Vec<Incoming<T>>,
    bells: Arc<[Bell]>,
    backlog: usize,
}

/// Wakes a receiver, once until it has looked.
#[derive(Debug, Default)]
struct Bell {
    rung: AtomicBool,
    waker: OnceLock<Waker>,
}

struct Outgoing<T: Send + Sync> {
    queue: Producer<T>,
    /// Set while the sender waits for room; the receiver rings back when it has made some.
    wants_room: Arc<AtomicBool>,
    waiting: VecDeque<T>,
    /// Something was queued since the receiver's bell was last rung.
    unannounced: bool,
}

struct Incoming<T: Send + Sync> {
    queue: Consumer<T>,
    sender_wants_room: Arc<AtomicBool>,
}

/// Mailboxes for `shards` shards, in their order, and last the one of the controller.
pub fn mesh<T: Send + Sync>(shards: usize) -> Vec<Mailbox<T>> {
    let parties = shards + 1;
    let bells: Arc<[Bell]> = (0..parties).map(|_| Bell::default()).collect();
    let mut mailboxes: Vec<Mailbox<T>> = (0..parties)
        .map(|me| Mailbox {
            me,
            outgoing: Vec::with_capacity(parties),
            incoming: Vec::with_capacity(parties),
            bells: bells.clone(),
            backlog: 0,
        })
        .collect();
    for from in 0..parties {
        for to in 0..parties {
            let (producer, consumer) = make(LANE_LETTERS);
            let wants_room = Arc::new(AtomicBool::new(false));
            mailboxes[from].outgoing.push(Outgoing {
                queue: producer,
                wants_room: wants_room.clone(),
                waiting: VecDeque::new(),
                unannounced: false,
            });
            mailboxes[to].incoming.push(Incoming { queue: consumer, sender_wants_room: wants_room });
        }
    }
    mailboxes
}

impl<T: Send + Sync> Mailbox<T> {
    /// Queues a letter. The receiver hears of it at [`Mailbox::announce`].
    pub fn send(&mut self, to: Address, letter: T) {
        let lane = &mut self.outgoing[index_of(to, self.bells.len())];
        if lane.waiting.is_empty() {
            match lane.queue.try_push(letter) {
                None => lane.unannounced = true,
                Some(letter) => {
                    lane.waiting.push_back(letter);
                    self.backlog += 1;
                }
            }
        } else {
            lane.waiting.push_back(letter);
            self.backlog += 1;
        }
    }

    /// Moves waiting letters up, and rings the bell of every receiver that has new ones. Once per turn.
    pub fn announce(&mut self) {
        for (to, lane) in self.outgoing.iter_mut().enumerate() {
            self.backlog -= lane.move_up();
            if !lane.waiting.is_empty() {
                // The receiver may have made room just before it could see the wish: look again.
                lane.wants_room.store(true, Ordering::SeqCst);
                self.backlog -= lane.move_up();
            }
            if std::mem::take(&mut lane.unannounced) {
                self.bells[to].ring();
            }
        }
    }

    /// Takes all letters that are there, sender by sender.
    pub fn take(&mut self, mut each: impl FnMut(Address, T)) {
        // Before the first look, so that a letter that comes later rings again.
        self.bells[self.me].rung.store(false, Ordering::SeqCst);
        for (from, lane) in self.incoming.iter().enumerate() {
            let address = address_of(from, self.bells.len());
            // One queue's worth per turn: a sender that never pauses must not hold up the others.
            for _ in 0..LANE_LETTERS {
                match lane.queue.try_pop() {
                    Some(letter) => each(address, letter),
                    None => break,
                }
            }
            if lane.sender_wants_room.swap(false, Ordering::SeqCst) {
                self.bells[from].ring();
                // The sender may have filled the queue again meanwhile: look again next turn.
                self.bells[self.me].rung.store(true, Ordering::SeqCst);
            }
        }
    }

    /// True if the bell was rung since the last [`Mailbox::take`]. Remembers whom to wake.
    pub fn has_mail(&self, waker: &Waker) -> bool {
        let bell = &self.bells[self.me];
        // The driver is one task for its whole life, so its first waker serves for ever.
        bell.waker.get_or_init(|| waker.clone());
        bell.rung.load(Ordering::SeqCst)
    }

    /// Letters that found no room yet.
    pub fn backlog(&self) -> usize {
        self.backlog
    }
}

impl<T: Send + Sync> Outgoing<T> {
    /// Returns how many letters found room.
    fn move_up(&mut self) -> usize {
        let before = self.waiting.len();
        while let Some(letter) = self.waiting.pop_front() {
            if let Some(letter) = self.queue.try_push(letter) {
                self.waiting.push_front(letter);
                break;
            }
            self.unannounced = true;
        }
        before - self.waiting.len()
    }
}

impl Bell {
    fn ring(&self) {
        if !self.rung.swap(true, Ordering::SeqCst)
            && let Some(waker) = self.waker.get()
        {
            waker.wake_by_ref();
        }
    }
}

fn index_of(address: Address, parties: usize) -> usize {
    match address {
        Address::Shard(ShardId(shard)) => usize::from(shard),
        Address::Control => parties - 1,
    }
}

fn address_of(index: usize, parties: usize) -> Address {
    if index == parties - 1 { Address::Control } else { Address::Shard(ShardId(index as u16)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Address = Address::Shard(ShardId(0));
    const B: Address = Address::Shard(ShardId(1));

    fn taken(mailbox: &mut Mailbox<u32>) -> Vec<(Address, u32)> {
        let mut all = Vec::new();
        mailbox.take(|from, letter| all.push((from, letter)));
        all
    }

    #[test]
    fn letters_of_a_pair_keep_their_order_beyond_the_queue() {
        let mut mesh = mesh::<u32>(2);
        let count = 3 * LANE_LETTERS as u32 + 7;
        for letter in 0..count {
            mesh[0].send(B, letter);
        }
        mesh[0].announce();
        assert_eq!(mesh[0].backlog(), count as usize - LANE_LETTERS);
        let mut all = Vec::new();
        while all.len() < count as usize {
            assert!(mesh[1].has_mail(Waker::noop()), "the receiver was told of every letter");
            all.extend(taken(&mut mesh[1]));
            assert!(mesh[0].has_mail(Waker::noop()) || mesh[0].backlog() == 0, "the sender is told of room");
            taken(&mut mesh[0]);
            mesh[0].announce();
        }
        assert_eq!(all, (0..count).map(|letter| (A, letter)).collect::<Vec<_>>());
        assert_eq!(mesh[0].backlog(), 0);
    }

    #[test]
    fn everyone_reaches_everyone() {
        let mut mesh = mesh::<u32>(2);
        mesh[2].send(A, 1);
        mesh[1].send(A, 2);
        mesh[0].send(Address::Control, 3);
        for mailbox in &mut mesh {
            mailbox.announce();
        }
        assert_eq!(taken(&mut mesh[0]), vec![(B, 2), (Address::Control, 1)]);
        assert_eq!(taken(&mut mesh[2]), vec![(A, 3)]);
        assert!(!mesh[1].has_mail(Waker::noop()));
    }

    #[test]
    fn a_bell_rings_once_until_the_mail_is_taken() {
        let mut mesh = mesh::<u32>(1);
        mesh[1].send(A, 1);
        assert!(!mesh[0].has_mail(Waker::noop()), "a letter is announced at the end of the turn");
        mesh[1].announce();
        assert!(mesh[0].has_mail(Waker::noop()));
        taken(&mut mesh[0]);
        assert!(!mesh[0].has_mail(Waker::noop()));
    }

    #[test]
    fn two_threads_lose_nothing() {
        let mut mesh = mesh::<u32>(1);
        let mut control = mesh.pop().expect("the controller's mailbox is the last");
        let mut shard = mesh.pop().expect("one shard");
        const COUNT: u32 = 50_000;
        std::thread::scope(|scope| {
            scope.spawn(move || {
                for letter in 0..COUNT {
                    control.send(A, letter);
                    control.announce();
                }
                while control.backlog() > 0 {
                    control.announce();
                    std::thread::yield_now();
                }
            });
            let mut expected = 0;
            while expected < COUNT {
                shard.take(|_, letter| {
                    assert_eq!(letter, expected);
                    expected += 1;
                });
                std::thread::yield_now();
            }
        });
    }
}
