import Addressing

/// The comments of many set entries: few differ, and each is looked through for what may stand there.
struct MemberComments {
  private struct Key: Hashable {
    var reason: String
    var inner: IPAddress?
  }

  private var known: [Key: String] = [:]

  /// The comment of an entry as a member of a set.
  mutating func comment(of entry: BlockPlan.Entry) -> String {
    let key = Key(reason: entry.reason, inner: entry.inner)
    if let comment = known[key] { return comment }
    let comment = OwnObjects.comment(entry)
    known[key] = comment
    return comment
  }
}
