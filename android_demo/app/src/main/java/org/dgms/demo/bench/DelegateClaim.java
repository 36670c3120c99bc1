package org.dgms.demo.bench;

import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** What the DGMS delegate took over of a model. Immutable. */
public final class DelegateClaim {
  private final int operators;
  private final int candidates;
  private final int nodes;
  private final long packedBytes;
  private final List<String> refusals;

  DelegateClaim(int operators, int candidates, int nodes, long packedBytes, List<String> refusals) {
    this.operators = operators;
    this.candidates = candidates;
    this.nodes = nodes;
    this.packedBytes = packedBytes;
    this.refusals = Collections.unmodifiableList(new ArrayList<String>(refusals));
  }

  /** Layers that it runs. */
  public int operators() {
    return operators;
  }

  /** Layers of the kinds that it could run. */
  public int candidates() {
    return candidates;
  }

  /** Nodes of the file that it replaces, decoding of weights included. */
  public int nodes() {
    return nodes;
  }

  /** Memory of its packed weights, in bytes. */
  public long packedBytes() {
    return packedBytes;
  }

  /** Why candidates were left to the runtime, one text each. */
  public List<String> refusals() {
    return refusals;
  }

  Map<String, Object> toMap() {
    Map<String, Object> map = new LinkedHashMap<String, Object>();
    map.put("operators", operators);
    map.put("candidates", candidates);
    map.put("nodes", nodes);
    map.put("packed_bytes", packedBytes);
    map.put("refusals", refusals);
    return map;
  }

  static DelegateClaim fromJson(JsonFields json) throws FormatException {
    return new DelegateClaim(
        (int) json.integer("operators"),
        (int) json.integer("candidates"),
        (int) json.integer("nodes"),
        json.integer("packed_bytes"),
        json.texts("refusals"));
  }
}
