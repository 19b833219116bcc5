extension Array {
  /// Sorts large elements: only their places are sorted, then each element is moved to its own.
  ///
  /// A finding is nearly a kilobyte; sorting ten thousand of them as they are needs half as much
  /// memory again and moves each a dozen times.
  ///
  /// - Parameter precedes: Whether the first of two stands before the second.
  mutating func sortMovingOnce(by precedes: (Element, Element) -> Bool) {
    var source = Array<Int>(indices)
    source.sort { left, right in
      if precedes(self[left], self[right]) { return true }
      // Equal ones stay in order.
      return left < right && !precedes(self[right], self[left])
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
