//! Many things at once, but no more than there are processors.

use std::panic::resume_unwind;
use std::sync::Mutex;
use std::thread;

/// Does `work` with each item, as many at once as there are processors, and returns the answers in the items' order.
///
/// # Panics
/// As the work does.
pub fn map<I: Send, O: Send>(items: Vec<I>, work: impl Fn(I) -> O + Sync) -> Vec<O> {
    let workers = thread::available_parallelism().map_or(1, usize::from).min(items.len());
    let waiting = Mutex::new(items.into_iter().enumerate());
    let next = || waiting.lock().ok().and_then(|mut queue| queue.next());
    let work_off = || {
        let mut done = Vec::new();
        while let Some((order, item)) = next() {
            done.push((order, work(item)));
        }
        done
    };
    let mut answers: Vec<(usize, O)> = thread::scope(|scope| {
        let running: Vec<_> = (0..workers).map(|_| scope.spawn(work_off)).collect();
        running
            .into_iter()
            .flat_map(|worker| worker.join().unwrap_or_else(|panic| resume_unwind(panic)))
            .collect()
    });
    answers.sort_by_key(|(order, _)| *order);
    answers.into_iter().map(|(_, answer)| answer).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn answers_come_in_the_order_of_the_items() {
        let answers = super::map((0..50u64).collect(), |item| {
            std::thread::sleep(std::time::Duration::from_millis((50 - item) % 7));
            item * 2
        });
        assert_eq!(answers, (0..100).step_by(2).collect::<Vec<_>>());
        assert!(super::map(Vec::<u8>::new(), |item| item).is_empty());
    }
}
