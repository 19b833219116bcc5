import Addressing
import Firewall

/// What our sets hold once a plan is written, and what puts them back.
extension BlockPlan {
  /// Sets as they are once ours have taken what is planned.
  func filling(_ sets: [AddressSet]) -> [AddressSet] {
    var result = sets
    for family in setFamilies {
      var comments = MemberComments()
      let members =
        moved.filter { $0.family == family }.map {
          AddressSet.Entry(
            element: $0.element, timeout: $0.timeout, comment: $0.memberComment)
        }
        + entries.filter { $0.address.family == family }.map {
          AddressSet.Entry(
            element: $0.element, timeout: $0.seconds, comment: comments.comment(of: $0))
        }
      let name = OwnObjects.setName(family)
      let number = result.firstIndex { $0.name == name } ?? result.endIndex
      if number == result.endIndex { result.append(OwnObjects.emptySet(family)) }
      let written = Set(members.map(\.element))
      result[number].entries.removeAll { written.contains($0.element) }
      result[number].entries += members
    }
    return result
  }

  /// Lines for `ipset restore` that put our sets back as they were, one input a set.
  func setUndo(before: FirewallSnapshot) -> [String] {
    setFamilies.map { family in
      guard before.ownSet(family) != nil else { return "destroy \(OwnObjects.setName(family))\n" }
      return memberUndo(family, before: before, moved: moved)
    }
  }

  /// The same for the members of one set; the set stays.
  func memberUndo(
    _ family: AddressFamily, before: FirewallSnapshot, moved: [OwnBlock] = []
  ) -> String {
    let name = OwnObjects.setName(family)
    let old = Dictionary(
      (before.ownSet(family)?.entries ?? []).map { ($0.element, $0) },
      uniquingKeysWith: { first, _ in first })
    let elements =
      moved.filter { $0.family == family }.map(\.element)
      + entries.filter { $0.address.family == family }.map(\.element)
    return elements.map { element in
      guard let standing = old[element] else { return "del -exist \(name) \(element)\n" }
      return "add -exist \(name) \(element) timeout \(standing.timeout ?? 0) "
        + "comment \"\(OwnObjects.plain(standing.comment ?? OwnObjects.label))\"\n"
    }.joined()
  }
}
