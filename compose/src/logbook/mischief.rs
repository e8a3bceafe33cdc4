//! What can happen to messages between the logbook and Kafka: lost, doubled, out of order. The database and its REST
//! answers never notice. Pure.

use lightrail_topics::logbook::book::Message;

/// What happens to the `k`-th message, counted from 0 over all topics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mischief {
    /// It is never sent.
    Lose(usize),
    /// It is sent twice.
    Double(usize),
    /// It is sent after the next one.
    Swap(usize),
}

/// Counts messages and does the mischief.
#[derive(Debug, Default)]
pub(super) struct Courier {
    mischief: Vec<Mischief>,
    seen: usize,
    held: Option<Message>,
}

impl Courier {
    pub(super) fn new(mischief: Vec<Mischief>) -> Self {
        Self { mischief, seen: 0, held: None }
    }

    /// What is sent when the logbook means to send `message`.
    pub(super) fn take(&mut self, message: Message) -> Vec<Message> {
        let has = |wanted: fn(usize) -> Mischief| self.mischief.contains(&wanted(self.seen));
        let (lost, doubled, swapped) = (has(Mischief::Lose), has(Mischief::Double), has(Mischief::Swap));
        self.seen += 1;
        if lost {
            return Vec::new();
        }
        if swapped && self.held.is_none() {
            self.held = Some(message);
            return Vec::new();
        }
        let mut sent = vec![message];
        if doubled {
            sent.push(sent[0].clone());
        }
        sent.extend(self.held.take());
        sent
    }

    /// What waits for a next message that may never come.
    pub(super) fn release(&mut self) -> Option<Message> {
        self.held.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(mischief: Vec<Mischief>) -> String {
        let mut courier = Courier::new(mischief);
        let mut sent: Vec<Message> = ["a", "b", "c"]
            .iter()
            .flat_map(|body| courier.take(Message { topic: "runs", body: (*body).into() }))
            .collect();
        sent.extend(courier.release());
        sent.into_iter().map(|message| message.body).collect()
    }

    #[test]
    fn each_mischief_touches_only_its_message() {
        assert_eq!(sent(vec![]), "abc");
        assert_eq!(sent(vec![Mischief::Lose(1)]), "ac");
        assert_eq!(sent(vec![Mischief::Double(0)]), "aabc");
        assert_eq!(sent(vec![Mischief::Swap(0)]), "bac");
        assert_eq!(sent(vec![Mischief::Swap(2)]), "abc");
        assert_eq!(sent(vec![Mischief::Swap(0), Mischief::Lose(1)]), "ca");
    }
}
