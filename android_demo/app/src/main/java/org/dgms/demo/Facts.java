package org.dgms.demo;

import android.view.LayoutInflater;
import android.view.View;
import android.widget.LinearLayout;
import android.widget.TextView;
import java.util.Map;

/** Rows of a name and a value. */
final class Facts {
  private Facts() {}

  /** Shows these rows and no others. */
  static void show(LinearLayout list, Map<String, String> facts) {
    list.removeAllViews();
    LayoutInflater inflater = LayoutInflater.from(list.getContext());
    for (Map.Entry<String, String> fact : facts.entrySet()) {
      View row = inflater.inflate(R.layout.fact, list, false);
      ((TextView) row.findViewById(R.id.fact_name)).setText(fact.getKey());
      ((TextView) row.findViewById(R.id.fact_value)).setText(fact.getValue());
      list.addView(row);
    }
  }
}
