extension Array {
  /// Sorts large elements: their keys and places are sorted, then each element is moved to its own.
  ///
  /// A finding is nearly a kilobyte; sorting ten thousand of them as they are needs half as much
  /// memory again and moves each a dozen times.
  ///
  /// - Parameter key: What an element is sorted by; equal ones stay in order.
  mutating func sortMovingOnce<Key: Comparable>(by key: (Element) -> Key) {
    let keys = map(key)
    var source = Array<Int>(indices)
    source.sort { left, right in
      if keys[left] < keys[right] { return true }
      return left < right && !(keys[right] < keys[left])
    }
    // Each place takes its element from where that has gone meanwhile.
    for place in indices {
      var from = source[place]
      while from < place { from = source[from] }
      if from != place { swapAt(place, from) }
      source[place] = from
    }
  }
}
