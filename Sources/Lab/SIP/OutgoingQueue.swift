/// Datagrams that are to be sent at some time, the next one first.
///
/// A heap: a server under attack has tens of thousands of answers to repeat, and must not search them
/// for every packet that comes.
struct OutgoingQueue: Sendable {
  private struct Entry: Sendable {
    var number: UInt64
    var datagram: DatagramLoop.Outgoing
  }

  private struct Key: Sendable {
    var waiting = 0
    /// Entries with a smaller number are called off.
    var first: UInt64 = 0
  }

  private var heap: [Entry] = []
  private var keys: [String: Key] = [:]
  private var number: UInt64 = 0

  /// When the next one is due; `nil` when none waits.
  var nextDue: ContinuousClock.Instant? { heap.first?.datagram.due }

  /// Adds a datagram.
  mutating func add(_ datagram: DatagramLoop.Outgoing) {
    number += 1
    if let key = datagram.key { keys[key, default: Key()].waiting += 1 }
    heap.append(Entry(number: number, datagram: datagram))
    var child = heap.count - 1
    while child > 0, isBefore(child, (child - 1) / 2) {
      heap.swapAt(child, (child - 1) / 2)
      child = (child - 1) / 2
    }
  }

  /// Calls off the datagrams of a key that wait now.
  mutating func cancel(_ key: String) {
    // They stay where they are until they are due, and are left out then.
    keys[key]?.first = number + 1
  }

  /// Takes what is due, in order.
  mutating func take(until now: ContinuousClock.Instant) -> [DatagramLoop.Outgoing] {
    var due: [DatagramLoop.Outgoing] = []
    while let first = heap.first, first.datagram.due <= now {
      removeFirst()
      if !isCalledOff(first) { due.append(first.datagram) }
    }
    return due
  }

  /// Whether an entry that has been taken out was called off.
  private mutating func isCalledOff(_ entry: Entry) -> Bool {
    guard let name = entry.datagram.key, var key = keys[name] else { return false }
    key.waiting -= 1
    keys[name] = key.waiting > 0 ? key : nil
    return entry.number < key.first
  }

  private mutating func removeFirst() {
    heap.swapAt(0, heap.count - 1)
    heap.removeLast()
    var parent = 0
    while true {
      var least = parent
      for child in [2 * parent + 1, 2 * parent + 2]
      where child < heap.count && isBefore(child, least) {
        least = child
      }
      guard least != parent else { return }
      heap.swapAt(parent, least)
      parent = least
    }
  }

  private func isBefore(_ one: Int, _ other: Int) -> Bool {
    let (one, other) = (heap[one], heap[other])
    return (one.datagram.due, one.number) < (other.datagram.due, other.number)
  }
}
