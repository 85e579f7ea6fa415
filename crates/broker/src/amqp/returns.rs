//! Which publish a returned message belongs to.
//!
//! RabbitMQ sends an unroutable message back just before it confirms it, but confirms come in bunches, and the library hands a
//! returned message to whichever publish of the bunch it completes next. Taken at its word, a message nobody got would pass for
//! routed and another for unrouted. So each returned message is matched here by what it is: exchange, routing key and body. Which of
//! two publishes that are equal in all three it belongs to makes no difference.

use bytes::Bytes;

use crate::Routing;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Letter {
    pub exchange: String,
    pub routing_key: String,
    pub body: Bytes,
}

/// Returned messages whose publish has not completed yet.
#[derive(Default)]
pub(super) struct Returns(Vec<Letter>);

impl Returns {
    pub fn came_back(&mut self, letter: Letter) {
        self.0.push(letter);
    }

    /// What the confirm of `letter` means. To be asked only when every return that RabbitMQ sent before that confirm is here.
    pub fn routing(&mut self, letter: &Letter) -> Routing {
        match self.0.iter().position(|each| each == letter) {
            Some(found) => {
                self.0.remove(found);
                Routing::Unrouted
            }
            None => Routing::Routed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(key: &str, body: &'static str) -> Letter {
        Letter { exchange: "x".into(), routing_key: key.into(), body: body.into() }
    }

    #[test]
    fn a_returned_message_makes_exactly_one_publish_unrouted() {
        let mut returns = Returns::default();
        returns.came_back(letter("lost", "1"));
        returns.came_back(letter("lost", "2"));
        assert_eq!(returns.routing(&letter("kept", "1")), Routing::Routed);
        assert_eq!(returns.routing(&letter("lost", "2")), Routing::Unrouted);
        assert_eq!(returns.routing(&letter("lost", "2")), Routing::Routed);
        assert_eq!(returns.routing(&letter("lost", "1")), Routing::Unrouted);
        assert!(returns.0.is_empty());
    }
}
