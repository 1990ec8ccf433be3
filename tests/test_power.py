import pytest

from preference_study.analysis.evidence import detectable, needed
from preference_study.power import main, planned, table
from tests.workspace import change, tiny_params

SMALLEST = {"win_rate": 0.05, "gold_rate": 0.1}


def test_standard_errors_by_hand():
    """Of 400 prompts a win rate has 0.5 / 20; four much alike ones in a cluster tell half as much: 1 + 3 / 3 = 2."""
    assert planned(400, 1, 0.2, 0.36) == {
        "win_rate": {"error": 0.025, "rows": 400, "most": 0.5, "n": 400, "clusters": 400},
        "gold_rate": {"error": pytest.approx(0.6 / 20), "rows": 400, "most": 1.0, "n": 400, "clusters": 400},
    }
    alike = planned(400, 4, 1 / 3, 0.36)
    assert (alike["win_rate"]["rows"], alike["win_rate"]["clusters"]) == (pytest.approx(200), 100)
    assert alike["win_rate"]["error"] == pytest.approx(0.025 * 2**0.5)
    assert alike["gold_rate"]["error"] == pytest.approx(0.03 * 2**0.5)


def test_each_outcome_is_held_against_its_own_difference_at_the_corrected_level():
    reward, gold = table(400, 4, 1 / 3, 0.36, 2, True, SMALLEST)
    known = planned(400, 4, 1 / 3, 0.36)
    assert reward == {
        "outcome": "win_rate",
        "detectable": pytest.approx(detectable(known["win_rate"], tests=6)),
        "smallest": 0.05,
        "prompts": 4 * needed(known["win_rate"], 0.05, 6),
        "clusters": needed(known["win_rate"], 0.05, 6),
        "fewest": 8,
    }
    assert gold["smallest"] == 0.1 and gold["clusters"] == needed(known["gold_rate"], 0.1, 6)
    [alone] = table(400, 1, 0, 0.36, 1, False, SMALLEST)
    assert (
        alone["detectable"] == pytest.approx(detectable(planned(400, 1, 0, 0.36)["win_rate"], tests=2))
        and alone["prompts"] == alone["clusters"]
    )


def test_what_it_takes_is_in_clusters_of_the_size_that_was_given_whatever_was_planned():
    plans = [table(prompts, 10, 1.0, 0.4, 1, True, SMALLEST) for prompts in (5, 15, 400, 1500)]
    taken = {tuple((row["prompts"], row["clusters"]) for row in plan) for plan in plans}
    assert len(taken) == 1 and all(prompts == 10 * clusters for prompts, clusters in taken.pop())


def test_it_reads_the_plan_from_the_parameters_and_says_it_in_words(tmp_path, monkeypatch, capsys):
    tiny_params(tmp_path)
    change(tmp_path, verdict={"smallest_difference": SMALLEST}, generate={"max_prompts": 250}, policy={"methods": ["dpo", "ipo"]})
    monkeypatch.chdir(tmp_path)
    main([])
    first, reward, gold = capsys.readouterr().out.strip().split("\n")
    assert first == "250 prompts in 250 clusters, 2 against base, corrected at 0.05:"
    found = table(250, 1, 0.2, 0.4, 2, True, SMALLEST)
    assert f"by {found[0]['detectable']:.3f}; 0.050, which matters, takes {found[0]['prompts']:,} prompts" in reward
    assert f"by {found[1]['detectable']:.3f}; 0.100" in gold
    main(["--prompts", "600", "--rows-per-cluster", "4", "--no-gold", "--methods", "1"])
    first, reward = capsys.readouterr().out.strip().split("\n")
    assert "600 prompts in 150 clusters, 1 against base" in first and " clusters" in reward
    main(["--prompts", "1000", "--rows-per-cluster", "200", "--methods", "1"])
    assert "80% power nothing: of fewer than 7 clusters no corrected p can be below 0.05; 0.050" in capsys.readouterr().out
    main(["--prompts", "10"])
    _, reward, gold = capsys.readouterr().out.strip().split("\n")  # one half, and one, are the most there can be
    assert "power nothing, however much it differs; 0.050" in reward and "power nothing, however" in gold
    change(tmp_path, generate={"max_prompts": None})
    with pytest.raises(SystemExit):
        main([])
    assert "say how many with --prompts" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["--alike", "2"])
    assert "2 is not a share" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["--differ", "0"])
    assert "nothing to be seen" in capsys.readouterr().err
