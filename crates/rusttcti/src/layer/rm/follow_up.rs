// SPDX-License-Identifier: BSD-2-Clause
//! The steps after the TPM's response to a client's command, before the client gets it.

#![forbid(unsafe_code)]

use super::engine::{Engine, Go, Purpose, Renewal};
use super::own_commands::{OwnCommand, TRANSIENT};
use super::sessions::Residence;

impl Engine {
    /// Does one step after the client's command; `None` once none is left.
    pub(super) fn after(&mut self) -> Option<Go> {
        if self.job.budget == 0 || self.job.purpose == Purpose::Close {
            return None;
        }
        if let Some(list) = self.job.lists.last() {
            return Some(self.send(OwnCommand::List(*list)));
        }
        if let Some(stray) = self.strays.last() {
            return Some(self.send(OwnCommand::FlushStray(*stray)));
        }
        if let Some(go) = self.renew() {
            return Some(go);
        }
        if self.mode.share {
            if let Some(go) = self.unload_all() {
                return Some(go);
            }
        } else if self.mode.fork {
            if let Some(go) = self.save_made() {
                return Some(go);
            }
        }
        self.renew_overdue()
    }

    /// Saves the object that was just made, for forked children.
    fn save_made(&mut self) -> Option<Go> {
        let id = self.job.made?;
        let object = self.objects.get(id)?;
        if object.real().is_none() || object.stays || !object.context.is_empty() {
            return None;
        }
        Some(self.send(OwnCommand::SaveObject(id)))
    }

    /// Renews a saved session before the TPM's context count is too far from it. The
    /// sessions that the engine saved come first: each renewal of a session that a
    /// client saved makes the client's context useless in another process.
    fn renew_overdue(&mut self) -> Option<Go> {
        let (newest, gap) = (self.sessions.newest, self.gap);
        let is_overdue = |session: &&super::sessions::Session| {
            let limit = match session.residence {
                Residence::Loaded => return false,
                Residence::Evicted => gap / 2,
                Residence::Saved => gap - gap / 4,
            };
            newest.saturating_sub(session.order) >= limit && session.order < self.job.renew_before
        };
        let overdue = self.sessions.iter().filter(is_overdue);
        let oldest = overdue.min_by_key(|session| session.order)?;
        self.job.renewal = Some(Renewal {
            handle: oldest.handle,
            residence: oldest.residence,
        });
        self.renew()
    }

    /// Asks the TPM which objects without a context are gone.
    pub(super) fn check_objects(&mut self) {
        self.job.lists.push(TRANSIENT);
    }
}
