extension Flow {
  /// Whether this entry is certainly another one than an earlier reading's of the same tuple.
  ///
  /// An id alone does not tell: it is a hash of where the entry lies in memory and of its tuple
  /// (`nf_ct_get_id`), and the kernel hands the same memory out again, so that a flow that ended and
  /// began again may bear the id it had. Then its start (with `nf_conntrack_timestamp`), counters that
  /// shrank (with `nf_conntrack_acct`) or an answer that is no more tell it; where none of them is
  /// there, two flows look like one.
  ///
  /// - Parameter earlier: The entry in an earlier reading.
  /// - Returns: Whether it is another one for certain.
  public func isSuccessor(of earlier: Flow) -> Bool {
    guard key == earlier.key else { return true }
    if let start, let other = earlier.start, start != other { return true }
    if Self.shrank(originalCounters, since: earlier.originalCounters)
      || Self.shrank(replyCounters, since: earlier.replyCounters)
    {
      return true
    }
    // These bits are only ever set (enum ip_conntrack_status).
    let lasting: FlowStatus = [.seenReply, .assured, .expected]
    return !status.isSuperset(of: earlier.status.intersection(lasting))
  }

  private static func shrank(_ counters: Counters?, since earlier: Counters?) -> Bool {
    guard let counters, let earlier else { return false }
    return counters.packets < earlier.packets
  }
}
