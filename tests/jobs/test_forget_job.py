"""`jobs.forget` as it is typed."""

from gfm_store.vectors.publication import open_table, published_folder
from gfm_store.warehouse.connection import open_warehouse
from jobs import forget, versions


def test_a_user_is_forgotten_and_it_is_said(world, capsys):
    with open_warehouse(world) as warehouse:
        user, n_events = warehouse.execute(
            "SELECT user_id, count(*) FROM interaction_event GROUP BY user_id ORDER BY user_id LIMIT 1"
        ).fetchone()
    assert forget.main(["--warehouse", str(world), "--user", user]) == 0
    shown = capsys.readouterr().out
    assert f"{n_events:,} events, 1 profiles" in shown
    assert "trained with the user: s-" in shown
    assert str(world / "certificates") in shown.replace("\n", "")
    assert user not in open_table(published_folder(world), "user_vector").to_table()["user_id"].to_pylist()
    assert versions.main(["status", "--warehouse", str(world)]) == 0
    shown = capsys.readouterr().out
    assert "forget done" in shown
    assert "jobs.refresh_dynamic: its weights have seen 1 users who were forgotten since" in shown
    assert user not in (world / "log" / "forget.log").read_text()


def test_an_unknown_user_and_a_missing_option(world, tmp_path, capsys):
    assert forget.main(["--warehouse", str(world), "--user", "nobody"]) == 2
    assert "holds no trace of that user" in capsys.readouterr().err
    assert forget.main(["--warehouse", str(tmp_path), "--user", "nobody"]) == 2
    assert "holds no warehouse" in capsys.readouterr().err
    assert forget.main(["--warehouse", str(world)]) == 2


def test_several_users_are_forgotten(world, capsys):
    with open_warehouse(world) as warehouse:
        query = "SELECT DISTINCT user_id FROM interaction_event ORDER BY user_id LIMIT 2"
        users = [row[0] for row in warehouse.execute(query).fetchall()]
    assert forget.main(["--warehouse", str(world), "--user", users[0], "--user", users[1]]) == 0
    shown = capsys.readouterr().out
    assert all(user in shown for user in users)
    assert shown.count("Certificate:") == 2
    with open_warehouse(world) as warehouse:
        count = "SELECT count(*) FROM interaction_event WHERE user_id IN ($a, $b)"
        assert warehouse.scalar(count, a=users[0], b=users[1]) == 0
