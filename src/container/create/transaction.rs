//! World: parent. A creation either completes or leaves nothing behind.
//!
//! Each [`Guard`] owns one thing that was created, and undoes it when it is dropped, unless the [`Transaction`] has been
//! committed by then. Guards that are local variables are dropped in the reverse order of their declaration, so the order
//! of creation decides the order of undoing, and every `?` in between undoes exactly what exists.

use std::cell::{Cell, RefCell};
use std::ops::{Deref, DerefMut};
use std::rc::Rc;

use crate::container::warning::Warn;
use crate::error::{Error, Result};

/// Something that exists because creation made it.
pub(in crate::container) trait Undo {
    /// Undoes it. What cannot be undone is reported to `transaction`.
    fn undo(&mut self, transaction: &Transaction);
}

/// The state that all guards of one creation share.
#[derive(Debug, Clone, Default)]
pub(in crate::container) struct Transaction(Rc<State>);

#[derive(Debug, Default)]
struct State {
    committed: Cell<bool>,
    left_behind: RefCell<Option<Error>>,
    warnings: RefCell<Vec<Error>>,
}

impl Transaction {
    /// Has `created` undone unless the transaction is committed.
    pub(super) fn guard<T: Undo>(&self, created: T) -> Guard<T> {
        Guard { created, transaction: self.clone() }
    }

    /// Keeps everything: from now on guards only own what they hold.
    pub(super) fn commit(&self) {
        self.0.committed.set(true);
    }

    /// Notes the result of a step of undoing. The first error becomes part of the error of the creation, and the container's
    /// record stays, so that `delete` can try again.
    pub(super) fn note(&self, undone: Result<()>) {
        if let Err(error) = undone {
            self.0.left_behind.borrow_mut().get_or_insert(error);
        }
    }

    /// Whether something could not be undone.
    pub(super) fn left_something(&self) -> bool {
        self.0.left_behind.borrow().is_some()
    }

    /// Notes a problem that leaves nothing behind for `delete`.
    pub(super) fn warn(&self, warning: Error) {
        self.0.warnings.borrow_mut().push(warning);
    }

    /// To be called when all guards are dropped: prints the warnings, and adds what is left behind to the error that ended
    /// the creation.
    pub(super) fn explain(&self, error: Error, id: &str, warn: Warn<'_>) -> Error {
        self.0.warnings.take().into_iter().for_each(warn);
        match self.0.left_behind.take() {
            None => error,
            Some(left) => error.hint(format!("{left}; `tare delete --force {id}` removes what is left")),
        }
    }
}

/// Owns what creation made, and undoes it when it is dropped before the commit.
#[derive(Debug)]
pub(in crate::container) struct Guard<T: Undo> {
    created: T,
    transaction: Transaction,
}

impl<T: Undo> Deref for Guard<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.created
    }
}

impl<T: Undo> DerefMut for Guard<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.created
    }
}

impl<T: Undo> Drop for Guard<T> {
    fn drop(&mut self) {
        if !self.transaction.0.committed.get() {
            self.created.undo(&self.transaction);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Code;

    struct Named(&'static str, Rc<RefCell<Vec<&'static str>>>);

    impl Undo for Named {
        fn undo(&mut self, transaction: &Transaction) {
            self.1.borrow_mut().push(self.0);
            transaction.note(Err(Error::new(Code::SystemCallFailed, self.0)));
        }
    }

    #[test]
    fn what_is_created_last_is_undone_first() {
        let (undone, transaction) = (Rc::default(), Transaction::default());
        let create = || {
            let _first = transaction.guard(Named("first", Rc::clone(&undone)));
            let _second = transaction.guard(Named("second", Rc::clone(&undone)));
            Err::<(), _>(Error::new(Code::SystemCallFailed, "third"))
        };
        let error = transaction.explain(create().unwrap_err(), "a", &mut |_| {});
        assert_eq!(*undone.borrow(), ["second", "first"]);
        assert!(transaction.0.left_behind.borrow().is_none());
        let error = error.to_string();
        assert!(error.starts_with("third; second; `tare delete --force a` removes"), "{error}");
    }

    #[test]
    fn after_the_commit_nothing_is_undone() {
        let (undone, transaction) = (Rc::default(), Transaction::default());
        let guard = transaction.guard(Named("first", Rc::clone(&undone)));
        transaction.commit();
        drop(guard);
        assert!(undone.borrow().is_empty() && !transaction.left_something());
    }

    #[test]
    fn warnings_are_printed_once_and_change_no_error() {
        let transaction = Transaction::default();
        transaction.warn(Error::new(Code::SystemCallFailed, "lost"));
        let mut printed = Vec::new();
        for _ in 0..2 {
            let error =
                transaction.explain(Error::new(Code::SystemCallFailed, "x"), "a", &mut |e| printed.push(e.to_string()));
            assert_eq!(error.to_string(), "x");
        }
        assert_eq!(printed, ["lost"]);
    }
}
