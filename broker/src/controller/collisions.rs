//! Which topics a new name would collide with: those that differ only in dots and underscores.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::metadata::names::collision_form;
use crate::metadata::{Image, Record};
use storage::TopicId;

/// All names with a dot or an underscore, by the form in which they collide.
#[derive(Clone, Debug, Default)]
pub(super) struct Collisions(BTreeMap<String, BTreeSet<Arc<str>>>);

impl Collisions {
    pub(super) fn of(image: &Image) -> Collisions {
        let mut collisions = Collisions::default();
        for topic in image.topics() {
            collisions.add(&topic.name);
        }
        collisions
    }

    /// A topic that `name` collides with.
    pub(super) fn find(&self, name: &str) -> Option<&Arc<str>> {
        self.0.get(&collision_form(name)?)?.first()
    }

    /// Takes note of a record before it is applied to `image`.
    pub(super) fn note(&mut self, record: &Record, image: &Image) {
        match record {
            Record::TopicCreate(topic) => self.add(&Arc::from(topic.name.as_str())),
            Record::TopicDelete(deleted) => {
                let topic = image.topic_by_id(TopicId(deleted.topic_id)).expect("what is deleted was there");
                self.remove(&topic.name);
            }
            _ => {}
        }
    }

    fn add(&mut self, name: &Arc<str>) {
        if let Some(form) = collision_form(name) {
            self.0.entry(form).or_default().insert(name.clone());
        }
    }

    fn remove(&mut self, name: &Arc<str>) {
        let Some(form) = collision_form(name) else { return };
        if let Some(names) = self.0.get_mut(&form) {
            names.remove(name);
            if names.is_empty() {
                self.0.remove(&form);
            }
        }
    }
}
