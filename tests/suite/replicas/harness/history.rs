//! The writes of a gallery with their outcomes, and the states of images that they allow.

use std::collections::{BTreeMap, BTreeSet};

/// The label of an image, or none if the image does not exist.
pub type Seen = Option<String>;

/// A write to an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// Stores it with a label, new or as a replacement.
    Put(String),
    /// Changes its label if it exists.
    Patch(String),
    /// Deletes it.
    Delete,
}

/// The service's response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Acknowledged.
    Done,
    /// No such image.
    Missing,
    /// No response, or an error after which the write may still happen at any later time, or never.
    Unknown,
}

/// The writes of one caller, by image. Each write starts after the one before it has ended.
#[derive(Clone, Debug, Default)]
pub struct History(pub BTreeMap<String, Vec<(Act, Outcome)>>);

impl History {
    /// Records an act.
    pub fn note(&mut self, id: &str, act: Act, outcome: Outcome) {
        self.0
            .entry(id.to_owned())
            .or_default()
            .push((act, outcome));
    }

    /// Returns everything in a gallery that these writes do not explain.
    pub fn faults(&self, gallery: &BTreeMap<String, String>) -> Vec<String> {
        let mut faults = Vec::new();
        for (id, acts) in &self.0 {
            let seen = gallery.get(id).cloned();
            let possible = possible(acts);
            if possible.is_empty() {
                faults.push(format!("{id}: nothing explains the answers {acts:?}"));
            } else if !possible.contains(&seen) {
                faults.push(format!("{id} is {seen:?} after {acts:?}"));
            }
        }
        let unknown = gallery.keys().filter(|id| !self.0.contains_key(*id));
        faults.extend(unknown.map(|id| format!("{id} was never stored")));
        faults
    }
}

/// Returns the possible states of an image after these acts.
pub fn possible(acts: &[(Act, Outcome)]) -> BTreeSet<Seen> {
    let mut ends = BTreeSet::new();
    walk(acts, &[], None, &mut ends);
    ends
}

/// Walks from a state through the remaining acts, and through acts of unknown outcome that may
/// still happen.
fn walk(acts: &[(Act, Outcome)], open: &[&Act], now: Seen, ends: &mut BTreeSet<Seen>) {
    for (at, act) in open.iter().enumerate() {
        let rest: Vec<&Act> = [&open[..at], &open[at + 1..]].concat();
        walk(acts, &rest, after(act, &now), ends);
    }
    let Some(((act, outcome), rest)) = acts.split_first() else {
        ends.insert(now);
        return;
    };
    match outcome {
        Outcome::Unknown => walk(rest, &[open, &[act]].concat(), now, ends),
        Outcome::Missing if now.is_none() && !matches!(act, Act::Put(_)) => {
            walk(rest, open, now, ends);
        }
        Outcome::Missing => {}
        Outcome::Done if now.is_none() && !matches!(act, Act::Put(_)) => {}
        Outcome::Done => walk(rest, open, after(act, &now), ends),
    }
}

fn after(act: &Act, now: &Seen) -> Seen {
    match act {
        Act::Put(label) => Some(label.clone()),
        Act::Patch(label) => now.as_ref().map(|_| label.clone()),
        Act::Delete => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{Act::*, Outcome::*, *};

    fn put(label: &str) -> Act {
        Put(label.to_owned())
    }

    fn some(label: &str) -> Seen {
        Some(label.to_owned())
    }

    #[test]
    fn only_acknowledged_states_are_possible() {
        let patched = [(put("a"), Done), (Patch("b".to_owned()), Done)];
        assert_eq!(possible(&patched), BTreeSet::from([some("b")]));
        let deleted = [(put("a"), Done), (Delete, Done)];
        assert_eq!(possible(&deleted), BTreeSet::from([None]));
        let lost = [(put("a"), Done), (Patch("b".to_owned()), Missing)];
        assert!(possible(&lost).is_empty());
    }

    #[test]
    fn an_act_of_unknown_outcome_may_happen_later_or_never() {
        let unknown = [(put("a"), Unknown), (put("b"), Done)];
        assert_eq!(possible(&unknown), BTreeSet::from([some("a"), some("b")]));
        let deleted = [
            (put("a"), Done),
            (Delete, Unknown),
            (Patch("b".to_owned()), Done),
        ];
        assert_eq!(possible(&deleted), BTreeSet::from([None, some("b")]));
    }

    /// Plants faults in a correct gallery.
    #[test]
    fn planted_faults_are_found() {
        let mut history = History::default();
        history.note("kept", put("a"), Done);
        history.note("patched", put("a"), Done);
        history.note("patched", Patch("b".to_owned()), Done);
        history.note("deleted", put("a"), Done);
        history.note("deleted", Delete, Done);
        history.note("unknown", put("a"), Unknown);
        let right: BTreeMap<String, String> = [("kept", "a"), ("patched", "b")]
            .map(|(id, label)| (id.to_owned(), label.to_owned()))
            .into();
        assert_eq!(history.faults(&right), [""; 0]);
        let unexplained_with = |id: &str, label: Option<&str>| {
            let mut gallery = right.clone();
            match label {
                Some(label) => gallery.insert(id.to_owned(), label.to_owned()),
                None => gallery.remove(id),
            };
            history.faults(&gallery).len()
        };
        assert_eq!(unexplained_with("unknown", Some("a")), 0);
        for (id, label) in [
            ("kept", None),
            ("kept", Some("b")),
            ("patched", Some("a")),
            ("deleted", Some("a")),
            ("unknown", Some("b")),
            ("never", Some("a")),
        ] {
            assert_eq!(unexplained_with(id, label), 1, "{id} {label:?}");
        }
    }
}
