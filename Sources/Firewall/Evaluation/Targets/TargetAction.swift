import Addressing

/// What a rule's target does, ready to be carried out on a ``Variant``.
enum TargetAction: Sendable {
  /// No target, or one that only reports: LOG, TRACE, AUDIT.
  case nothing
  case accept
  case refuse(Verdict)
  case `return`
  /// The chain's place among the chains of its ruleset.
  case jump(Int)
  case goto(Int)
  /// `mark = (mark & ~clearing) ^ toggling`.
  case mark(clearing: UInt32, toggling: UInt32)
  /// The mark becomes something that is not computed here.
  case anyMark
  case connectionMark(clearing: UInt32, toggling: UInt32)
  case saveMark(markMask: UInt32, connectionMask: UInt32)
  case restoreMark(markMask: UInt32, connectionMask: UInt32)
  case notrack
  /// A conntrack template; `nil`: its zone is not known.
  case template(zone: UInt16?)
  case translate(TranslationTarget)
  /// A source translation, which comes too late to matter to any rule.
  case translateSource
  /// IPv6 prefix translation outside connection tracking.
  case anyDestination
  case touchSet(String, changesMark: Bool)
  case edit(Variant.Edits)
  /// The packet is handed to something that gives a verdict of its own.
  case outside(String)
  /// Any verdict, or none.
  case unrecognized(String)

  /// Whether the packet's fate can depend on it.
  var matters: Bool { if case .nothing = self { false } else { true } }
}

extension Variant {
  /// What remains known once something outside the ruleset has had the packet.
  func afterOutside(mayTranslate: Bool) -> Variant {
    var result = self
    if mayTranslate {
      result.destination = nil
      result.port = nil
      result.isTranslated = nil
    }
    result.mark = .anything
    result.connectionMark = .anything
    result.edits = [.ttl, .typeOfService, .payload]
    return result
  }
}

extension Situation {
  /// A variant after a target that neither ends the walk nor leaves the chain.
  func applying(_ action: TargetAction, to variant: Variant) -> Variant {
    var result = variant
    switch action {
    case .mark(let clearing, let toggling):
      result.mark = variant.mark.changed(clearing: clearing, toggling: toggling)
    case .anyMark:
      result.mark = .anything
    case .connectionMark(let clearing, let toggling):
      result = onFlow(variant) {
        $0.connectionMark = $0.connectionMark.changed(clearing: clearing, toggling: toggling)
      }
    case .saveMark(let markMask, let connectionMask):
      result = onFlow(variant) {
        $0.connectionMark = $0.connectionMark.changed(
          clearing: connectionMask, toggling: $0.mark, taken: markMask)
      }
    case .restoreMark(let markMask, let connectionMask):
      result = onFlow(variant) {
        $0.mark = $0.mark.changed(
          clearing: markMask, toggling: $0.connectionMark, taken: connectionMask)
      }
    case .notrack:
      result = beforeTracking(variant) { $0.tracking = .untracked }
    case .template(let zone):
      result = beforeTracking(variant) {
        $0.tracking = .template
        $0.zone = zone
      }
    case .translate(let target):
      result = target.applied(to: variant, self)
    case .anyDestination:
      result.destination = nil
    case .touchSet(_, let changesMark):
      if changesMark { result.mark = .anything }
    case .edit(let edits):
      result.edits.formUnion(edits)
    case .nothing, .accept, .refuse, .return, .jump, .goto, .translateSource, .outside,
      .unrecognized:
      break
    }
    return result
  }

  /// CONNMARK does nothing to a packet without a flow.
  private func onFlow(_ variant: Variant, _ change: (inout Variant) -> Void) -> Variant {
    switch connection(variant) {
    case .none, .untracked, .template:
      return variant
    case .tracked:
      var result = variant
      change(&result)
      return result
    case .unknown:
      var result = variant
      change(&result)
      return result.joined(variant)
    }
  }

  /// The first CT or NOTRACK rule wins: the kernel leaves alone what already has a flow, a template
  /// or the untracked mark, and so every packet over lo.
  private func beforeTracking(_ variant: Variant, _ change: (inout Variant) -> Void) -> Variant {
    guard stage == .raw, !isLoopback else { return variant }
    var result = variant
    switch variant.tracking {
    case .ordinary:
      change(&result)
      return result
    case .template, .untracked:
      return variant
    case .uncertain:
      change(&result)
      return result.joined(variant)
    }
  }
}
