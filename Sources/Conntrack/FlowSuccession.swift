extension Flow {
  /// Whether this entry is certainly another one than an earlier reading's of the same tuple.
  ///
  /// An id alone does not tell: it is a hash of where the entry lies in memory and of its tuple
  /// (`nf_ct_get_id`), and the kernel hands the same memory out again, so that a flow that ended and
  /// began again may bear the id it had. Its start tells (with `nf_conntrack_timestamp`), else an
  /// answer that is no more; where neither does, two flows look like one. Counters that shrank do not
  /// tell: whoever reads them may set them to nothing (`conntrack -L -z`).
  ///
  /// - Parameter earlier: The entry in an earlier reading.
  /// - Returns: Whether it is another one for certain.
  public func isSuccessor(of earlier: Flow) -> Bool {
    guard key == earlier.key else { return true }
    if let start, let other = earlier.start { return start != other }
    // These bits are only ever set (enum ip_conntrack_status), and EXPECTED only at the beginning.
    let lasting: FlowStatus = [.seenReply, .assured]
    return status.contains(.expected) != earlier.status.contains(.expected)
      || !status.isSuperset(of: earlier.status.intersection(lasting))
  }
}
