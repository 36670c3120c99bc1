package org.dgms.demo.bench;

import java.util.ArrayList;
import java.util.List;

/** The lines that a benchmark says: to the system's log at once, to the result at the end. */
final class RunLog {
  private final Environment environment;
  private final List<String> lines = new ArrayList<String>();

  RunLog(Environment environment) {
    this.environment = environment;
  }

  void add(String line) {
    lines.add(line);
    environment.log(line);
  }

  List<String> lines() {
    return lines;
  }
}
